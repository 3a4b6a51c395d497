//! The contract of a store: what a relay asks of the database.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use uuid::Uuid;

use crate::{Message, Partition, Reason, StoreError};

/// The database of an outbox, as the relay sees it.
///
/// Any call may be dropped midway; whether it took effect is then unknown. The relay runs at most
/// one `lease`, one reading (`fetch` or `reread`) and one `settle` at a time, and the three do not
/// wait for each other as far as connections allow. Calls retry a serialization failure or a
/// deadlock by themselves and return it as a conflict only when it persists.
///
/// - Rows that a call returns were committed; a row is never returned after the settlement that
///   removed it has returned.
/// - All times are the database's; a duration that it returns is what remains by its clock.
/// - A server that can't be written to (a standby) is an error.
#[async_trait]
pub trait Store: Send + Sync {
    /// How many partitions the outbox has, fixed by its migration.
    fn partitions(&self) -> u16;

    /// How rows become visible, which decides what a reading cursor must look behind for.
    fn visibility(&self) -> Visibility;

    /// Renews, releases and takes leases and tells of all of them, in one transaction:
    /// - the relay counts as live for `ttl` from now on, or no longer if it is `leaving`;
    /// - `release`: is given up if it is owned under that epoch;
    /// - all others that the relay owns run for `ttl` from now, under the same epoch, even if they
    ///   had run out; when `leaving`, they are given up;
    /// - `take`: becomes the relay's under the next epoch if nobody owns it alive; alive means
    ///   `now < expires_at <= now + 2 * ttl`, the `ttl` being the one that it last ran for: a clock
    ///   that was set back by less than that ends no lease, and by more keeps nobody alive. What
    ///   somebody else has locked in the database may be left for another time;
    /// - the report shows leases and relays as they are after all this.
    async fn lease(&self, request: &LeaseRequest) -> Result<LeaseReport, StoreError>;

    /// Reads the next rows of each partition, and looks behind the cursors, in one snapshot:
    /// - rows with `seq > after`, ascending, at most `limit`, and no more once their payloads have
    ///   reached `bytes` (a first row always comes);
    /// - if `after > horizon`, every row with `horizon < seq <= after` without its content;
    ///   [`Page::look_truncated`] if there are more than `look_limit` of them;
    /// - the generations of all partitions asked for, and their parked lanes where they are asked for.
    async fn fetch(&self, request: &FetchRequest) -> Result<Page, StoreError>;

    /// Reads rows of single keys again, per lane `from <= seq <= to`, ascending, at most `limit`,
    /// and no more once their payloads have reached `bytes` (a first row always comes). A lane
    /// without a key is the one row without a key at `from`. Lanes may come in any order.
    async fn reread(&self, request: &RereadRequest) -> Result<Vec<StoredRow>, StoreError>;

    /// Writes down what became of messages:
    /// - `delivered`: the row with that partition, seq *and* id is removed, whoever owns it; it is
    ///   no error if it has gone;
    /// - a verdict changes its row only if the relay owns the partition under that epoch, which
    ///   the check holds until it commits; a lease that has run out, but that nobody took, is
    ///   still owned; `attempts` is set, not added to;
    /// - where both the epoch is lost and the row has gone, either answer may come;
    /// - `Dead` moves the row to the dead letters;
    /// - `Parked` does so too, and parks the lane if it is the row's own message that it waits behind;
    ///   behind another only if the lane is still parked behind that one, which the check holds until
    ///   it commits. If it was moved before, by a call whose answer was lost, that is as good.
    async fn settle(&self, request: &SettleRequest) -> Result<SettleReport, StoreError>;
}

/// Where a row stands within its outbox; ascending in the order of insertion. Positive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Seq(pub i64);

impl Seq {
    /// Before every row.
    pub const START: Self = Self(0);
}

/// Grows each time a partition's owner changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Epoch(pub i64);

/// A transaction id, ascending, of databases that have them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TxId(pub u64);

/// The identity of one relay during one run: random, never derived from a host or a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RelayId(pub Uuid);

impl fmt::Display for RelayId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// How rows become visible to readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// In the order of their `seq`: there is one writer at a time.
    Ordered,
    /// In any order; pages and settlements carry transaction ids that tell what is still open.
    Snapshot,
    /// In any order, but no later than this after the `seq` was given out.
    Within(Duration),
}

/// Asks for leases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest {
    /// Who asks.
    pub relay: RelayId,
    /// How long leases and liveness hold, by the database's clock.
    pub ttl: Duration,
    /// Partitions to take if nobody owns them alive.
    pub take: Vec<Partition>,
    /// Partitions to give up.
    pub release: Vec<(Partition, Epoch)>,
    /// The relay's broker is out of reach; others may take most of its share.
    pub sick: bool,
    /// Give up everything and stop counting as live.
    pub leaving: bool,
}

/// All leases and live relays.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeaseReport {
    /// Every partition, ascending.
    pub leases: Vec<Lease>,
    /// Every live relay, the asking one among them unless it is leaving.
    pub relays: Vec<LiveRelay>,
    /// The id of the transaction that did this.
    pub tx: Option<TxId>,
}

/// One partition's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Which partition.
    pub partition: Partition,
    /// Who owns it, or owned it last if it was never given up.
    pub owner: Option<RelayId>,
    /// The epoch of that ownership.
    pub epoch: Epoch,
    /// The lease has not run out.
    pub live: bool,
}

/// A relay that has been heard of within its `ttl`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveRelay {
    /// Its identity.
    pub id: RelayId,
    /// Its broker is out of reach.
    pub sick: bool,
}

/// Asks for the next rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchRequest {
    /// Partitions and how far each has been read. May be empty: the page then only tells whether
    /// partitions are vacant.
    pub reads: Vec<PartitionRead>,
    /// Rows at or below it need no look.
    pub horizon: Seq,
    /// The most rows that all looks together return.
    pub look_limit: u32,
}

/// How to read one partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionRead {
    /// Which partition.
    pub partition: Partition,
    /// The last row read.
    pub after: Seq,
    /// The most rows; may be 0.
    pub limit: u32,
    /// Read no further once the payloads have reached this.
    pub bytes: u64,
    /// Tell which of its lanes are parked.
    pub parked: bool,
}

/// What one snapshot held.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Page {
    /// Rows after the cursors, ascending within each partition.
    pub rows: Vec<StoredRow>,
    /// Rows between horizon and cursor, without content.
    pub behind: Vec<RowBehind>,
    /// There are more rows behind the cursors than were asked for.
    pub look_truncated: bool,
    /// Every transaction below it had ended in this snapshot ([`Visibility::Snapshot`] only).
    pub xmin: Option<TxId>,
    /// The generation of each partition asked for: it changes when rows were put back in front.
    pub generations: Vec<(Partition, i64)>,
    /// The parked lanes of the partitions of which they were asked for.
    pub parked: Vec<ParkedLane>,
    /// There are partitions without a live owner.
    pub vacant: bool,
}

/// A row as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRow {
    /// Its partition.
    pub partition: Partition,
    /// Its place.
    pub seq: Seq,
    /// How many attempts have failed.
    pub attempts: u32,
    /// How long the next attempt still has to wait, by the database's clock.
    pub retry_in: Option<Duration>,
    /// The message.
    pub message: Arc<Message>,
    /// A part of the row that can't be read (a producer in another language wrote it); such a
    /// message is dead-lettered.
    pub defect: Option<Reason>,
}

/// A row behind the cursor: enough to tell whether it is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowBehind {
    /// Its partition.
    pub partition: Partition,
    /// Its place.
    pub seq: Seq,
    /// The message id.
    pub id: Uuid,
    /// The message's topic.
    pub topic: Arc<str>,
    /// The message's key.
    pub key: Option<Arc<str>>,
}

/// A lane whose messages wait among the dead letters, behind one that died.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParkedLane {
    /// Its partition.
    pub partition: Partition,
    /// Its key.
    pub key: Arc<str>,
    /// The message that died.
    pub behind: Uuid,
    /// The topic of that message, or of another with its id and key that died in a lane of its own.
    pub topic: Arc<str>,
}

/// Asks for rows of single lanes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RereadRequest {
    /// The lanes.
    pub lanes: Vec<LaneRead>,
}

/// How to read one lane.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LaneRead {
    /// Its partition.
    pub partition: Partition,
    /// Its key; without one, the lane is the row at `from`.
    pub key: Option<Arc<str>>,
    /// The first row.
    pub from: Seq,
    /// The last row.
    pub to: Seq,
    /// The most rows.
    pub limit: u32,
    /// Read no further once the payloads have reached this.
    pub bytes: u64,
}

/// Names a row beyond doubt: after a fail-over or a restore a `seq` may be given out again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct RowRef {
    /// Its partition.
    pub partition: Partition,
    /// Its place.
    pub seq: Seq,
    /// The message id.
    pub id: Uuid,
}

/// Tells what became of messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SettleRequest {
    /// Who tells.
    pub relay: RelayId,
    /// Delivered rows: facts, whoever reports them.
    pub delivered: Vec<RowRef>,
    /// Decisions, valid only under their epoch.
    pub verdicts: Vec<Verdict>,
}

/// What the relay decided about a message that was not delivered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Which row.
    pub row: RowRef,
    /// The epoch under which the relay owns its partition.
    pub epoch: Epoch,
    /// How many attempts have failed by now.
    pub attempts: u32,
    /// Why.
    pub error: Reason,
    /// What is to happen.
    pub fate: Fate,
}

/// What is to happen to a message that was not delivered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is tried again, no sooner than this from now.
    Retry(Duration),
    /// It goes to the dead letters, and its lane goes on.
    Dead,
    /// It goes to the dead letters and keeps its place, as do all messages of its lane that come
    /// later, until a redrive puts them back.
    Parked {
        /// The message that died: itself, or the one that its lane is parked behind.
        behind: Uuid,
    },
}

/// What a settlement did.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SettleReport {
    /// An answer for each verdict, in their order.
    pub verdicts: Vec<VerdictAnswer>,
    /// The id of a transaction that began after this settlement was asked for.
    pub tx: Option<TxId>,
}

/// What became of a verdict.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VerdictAnswer {
    /// It was written.
    Applied,
    /// The row has gone: somebody delivered it.
    Gone,
    /// Its lane is no longer parked behind that message; nothing was written.
    NotParked,
    /// The relay no longer owns the partition under that epoch; nothing was written.
    EpochLost,
}
