//! What goes into the machine and what comes out of it.

use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use crate::{
    BatchLimits, Epoch, FencingToken, FetchRequest, LeaseReport, LeaseRequest, Message, Ordering,
    Outcome, Page, Partition, Reason, RereadRequest, SettleReport, SettleRequest, StoreErrorKind,
    StoredRow,
};

/// What the machine wants done. Each is answered by one [`Input`] of the like name; a command that
/// was cancelled or whose answer was lost is answered by its failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Call [`Store::lease`](crate::Store::lease).
    Lease(LeaseRequest),
    /// Call [`Store::fetch`](crate::Store::fetch).
    Fetch(FetchRequest),
    /// Call [`Store::reread`](crate::Store::reread).
    Reread(RereadRequest),
    /// Call [`Publisher::publish_fenced`](crate::Publisher::publish_fenced).
    Publish(Batch),
    /// Call [`Store::settle`](crate::Store::settle).
    Settle(SettleRequest),
}

/// Messages to publish in one call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Names the batch in its answer.
    pub id: BatchId,
    /// Which publisher.
    pub destination: Destination,
    /// The messages; those of one lane in their order.
    pub messages: Vec<Arc<Message>>,
    /// Under which epoch each of them is sent.
    pub tokens: Vec<FencingToken>,
    /// When the call must have ended, on the machine's clock.
    pub deadline: Duration,
}

/// Names a batch within one run of a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BatchId(pub u64);

/// The index of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destination(pub u16);

/// What the machine must know of a publisher.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DestinationSpec {
    /// What the publisher keeps within a batch.
    pub ordering: Ordering,
    /// How much it takes at once.
    pub limits: BatchLimits,
}

/// What the machine is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// The answer to [`Command::Lease`].
    Leased(Result<LeaseReport, StoreFailure>),
    /// The answer to [`Command::Fetch`].
    Fetched(Result<Page, StoreFailure>),
    /// The answer to [`Command::Reread`].
    Reread(Result<Vec<StoredRow>, StoreFailure>),
    /// The answer to [`Command::Publish`], one outcome per message.
    Published(BatchId, Vec<Outcome>),
    /// The answer to [`Command::Settle`].
    Settled(Result<SettleReport, StoreFailure>),
    /// Something was committed in this process.
    Woken,
    /// Finish what is under way, hand everything back and stop, at the latest at that time.
    Stop(Duration),
    /// Time has passed.
    Timeout,
}

/// Why a call of the store gave no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreFailure {
    /// Of what kind it is.
    pub kind: StoreErrorKind,
    /// In words.
    pub reason: Reason,
}

/// The part of the store that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoreCall {
    /// Leases.
    Lease,
    /// Fetching or rereading.
    Read,
    /// Settling.
    Settle,
}

impl StoreCall {
    /// Its name in logs and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lease => "lease",
            Self::Read => "read",
            Self::Settle => "settle",
        }
    }
}

/// What observers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// A partition is this relay's.
    Acquired(Partition, Epoch),
    /// A partition was handed back.
    Released(Partition),
    /// A partition went to somebody else while it was worked on.
    Lost(Partition),
    /// A lease ran out before it could be renewed; its partition rests.
    Expired(Partition),
    /// A page was read.
    Fetched {
        /// New rows taken.
        rows: usize,
        /// Rows the look behind returned.
        looked: usize,
        /// Rows that became visible behind the cursor.
        late: usize,
        /// How long the call took.
        took: Duration,
    },
    /// A batch has its outcomes.
    Published {
        /// Where it went.
        destination: Destination,
        /// Messages delivered.
        delivered: usize,
        /// Messages not delivered.
        failed: usize,
        /// How long the call took.
        took: Duration,
    },
    /// A message failed and will be tried again.
    Retried {
        /// Which message.
        id: Uuid,
        /// How many attempts have failed.
        attempts: u32,
        /// How long it waits.
        delay: Duration,
        /// Why it failed.
        error: Reason,
    },
    /// A message went to the dead letters.
    Dead {
        /// Which message.
        id: Uuid,
        /// How many attempts have failed.
        attempts: u32,
        /// Why it was given up.
        error: Reason,
    },
    /// A message follows one that died to the dead letters, where it keeps its place.
    Parked {
        /// Which message.
        id: Uuid,
        /// The one that died.
        behind: Uuid,
    },
    /// A destination is unavailable and rests.
    BreakerOpened(Destination, Reason),
    /// A destination works again.
    BreakerClosed(Destination),
    /// A destination asked to wait.
    Throttled(Destination, Duration),
    /// At a destination what this relay sends for some partition is refused: [`Outcome::Fenced`].
    Fenced(Destination, Reason),
    /// The store failed; what was read is read anew.
    StoreFailed(StoreCall, StoreFailure),
    /// The store works again.
    StoreRecovered(StoreCall),
    /// A message has had no verdict for long.
    Stuck {
        /// Which message.
        id: Uuid,
        /// Where it goes.
        destination: Destination,
        /// For how long this relay has had it.
        age: Duration,
    },
    /// All that could be read is delivered, and nothing waits.
    CaughtUp,
    /// The driver has caught a panic in the named part and goes on.
    Panicked(&'static str, Reason),
    /// Everything was handed back, or the time for it ran out.
    Stopped {
        /// Whether everything was handed back.
        clean: bool,
    },
}
