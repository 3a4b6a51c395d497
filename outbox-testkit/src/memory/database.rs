//! The tables, and the transactions of those who write messages.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{AuditEntry, Message, Partition, Reason, Seq, TxId, Visibility};
use uuid::Uuid;

use super::Sabotage;
use super::leases::Leases;

/// A model of an SQL database with one outbox in it.
///
/// Every call is atomic at the instant `now` of the database's clock, which counts from the Unix
/// epoch as far as [`Admin`](outbox_core::Admin) shows times; it may also step back. Places and
/// transaction ids are global and ascend; a transaction gets its id at its first insert, before
/// the first place, like the default of the outbox table in PostgreSQL.
#[derive(Debug, Clone)]
pub struct Database {
    pub(super) visibility: Visibility,
    pub(super) partitions: Vec<PartitionTable>,
    pub(super) leases: Leases,
    pub(super) dead: Vec<DeadRow>,
    pub(super) audit: Vec<AuditEntry>,
    pub(super) counters: Counters,
    last_seq: i64,
    highest_seq: i64,
    next_tx: u64,
    writers: BTreeMap<Transaction, Writer>,
    open_ids: BTreeSet<TxId>,
    began: u64,
    died: Vec<Uuid>,
    sabotages: Vec<Sabotage>,
}

/// An open transaction of a writer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Transaction(u64);

/// What happened, for tests that must prove that something did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counters {
    /// Rows removed because they were delivered.
    pub delivered: u64,
    /// Reports of a delivery whose row had gone or was another message.
    pub delivered_gone: u64,
    /// Verdicts that put a row off.
    pub retried: u64,
    /// Verdicts that moved a row to the dead letters.
    pub dead_lettered: u64,
    /// Verdicts that moved a row after one that died.
    pub parked: u64,
    /// Verdicts for rows whose lane was no longer parked.
    pub not_parked: u64,
    /// Verdicts refused because the relay had lost the partition.
    pub stale_refused: u64,
    /// Verdicts that were written though the relay had lost the partition: none, unless the
    /// fence is broken on purpose.
    pub stale_applied: u64,
    /// Verdicts for rows that had gone.
    pub verdicts_gone: u64,
    /// Leases that were taken, from nobody or from another.
    pub leases_taken: u64,
    /// Those of them that were taken from an owner who had not given them up.
    pub leases_taken_over: u64,
}

#[derive(Debug, Clone, Default)]
pub(super) struct PartitionTable {
    pub(super) rows: BTreeMap<Seq, Row>,
    pub(super) generation: i64,
}

#[derive(Debug, Clone)]
pub(super) struct Row {
    pub(super) message: Arc<Message>,
    pub(super) inserted_at: Duration,
    pub(super) attempts: u32,
    pub(super) retry_at: Option<Duration>,
    pub(super) defect: Option<Reason>,
}

#[derive(Debug, Clone)]
pub(super) struct DeadRow {
    pub(super) partition: Partition,
    pub(super) seq: Seq,
    pub(super) row: Row,
    pub(super) error: Reason,
    pub(super) died_at: Duration,
    /// The message that its lane is parked behind.
    pub(super) behind: Option<Uuid>,
}

#[derive(Debug, Clone, Default)]
struct Writer {
    id: Option<TxId>,
    rows: Vec<(Partition, Seq, Row)>,
}

impl Database {
    /// An empty outbox of that many partitions.
    ///
    /// # Panics
    /// If `partitions` is zero.
    pub fn new(partitions: u16, visibility: Visibility) -> Self {
        assert!(partitions > 0, "an outbox has at least one partition");
        Self {
            visibility,
            partitions: vec![PartitionTable::default(); usize::from(partitions)],
            leases: Leases::new(partitions),
            dead: Vec::new(),
            audit: Vec::new(),
            counters: Counters::default(),
            last_seq: 0,
            highest_seq: 0,
            next_tx: 1,
            writers: BTreeMap::new(),
            open_ids: BTreeSet::new(),
            began: 0,
            died: Vec::new(),
            sabotages: Vec::new(),
        }
    }

    /// How many partitions there are.
    pub fn partitions(&self) -> u16 {
        u16::try_from(self.partitions.len()).expect("made from a u16")
    }

    /// How rows become visible.
    pub fn visibility(&self) -> Visibility {
        self.visibility
    }

    /// Breaks a protection, from now on.
    pub fn sabotage(&mut self, sabotage: Sabotage) {
        self.sabotages.push(sabotage);
    }

    /// Begins a transaction. `None` if there is a writer already and the database allows one
    /// ([`Visibility::Ordered`]): the caller waits, as `BEGIN IMMEDIATE` does.
    pub fn begin(&mut self) -> Option<Transaction> {
        if self.visibility == Visibility::Ordered && !self.writers.is_empty() {
            return None;
        }
        self.began += 1;
        let transaction = Transaction(self.began);
        self.writers.insert(transaction, Writer::default());
        Some(transaction)
    }

    /// Writes a message, which is visible to nobody before the commit. Returns its place.
    ///
    /// # Panics
    /// If the transaction isn't open.
    pub fn insert(
        &mut self,
        now: Duration,
        transaction: Transaction,
        message: impl Into<Arc<Message>>,
    ) -> Seq {
        self.insert_row(now, transaction, message.into(), None)
    }

    /// Writes a row that can't be read completely, as a faulty producer in another language may.
    ///
    /// # Panics
    /// If the transaction isn't open.
    pub fn insert_defective(
        &mut self,
        now: Duration,
        transaction: Transaction,
        message: impl Into<Arc<Message>>,
        defect: Reason,
    ) -> Seq {
        self.insert_row(now, transaction, message.into(), Some(defect))
    }

    /// Makes all that was inserted visible at once.
    ///
    /// # Panics
    /// If the transaction isn't open.
    pub fn commit(&mut self, transaction: Transaction) {
        for (partition, seq, row) in self.end(transaction).rows {
            self.table_mut(partition).rows.insert(seq, row);
        }
    }

    /// Forgets all that was inserted. Its places are never given out again.
    ///
    /// # Panics
    /// If the transaction isn't open.
    pub fn rollback(&mut self, transaction: Transaction) {
        self.end(transaction);
    }

    /// Begins, inserts and commits in one step. `None` as in [`begin`](Self::begin).
    pub fn enqueue(
        &mut self,
        now: Duration,
        messages: impl IntoIterator<Item = Message>,
    ) -> Option<Vec<Seq>> {
        let transaction = self.begin()?;
        let places =
            messages.into_iter().map(|message| self.insert(now, transaction, message)).collect();
        self.commit(transaction);
        Some(places)
    }

    /// Gives out places after `seq` once more, as a fail-over or a restore from a backup may.
    /// Places that hold a row, visible or not, are passed over.
    pub fn rewind(&mut self, seq: Seq) {
        self.last_seq = seq.0;
    }

    /// The last place of a message in a parked lane.
    pub fn parked_up_to(&self) -> Seq {
        let parked = self.dead.iter().filter(|dead| dead.behind.is_some());
        parked.map(|dead| dead.seq).max().unwrap_or(Seq::START)
    }

    /// Open transactions of writers.
    pub fn open_transactions(&self) -> usize {
        self.writers.len()
    }

    /// Pending messages that are visible.
    pub fn backlog(&self) -> usize {
        self.partitions.iter().map(|table| table.rows.len()).sum()
    }

    /// Pending messages that are visible, by partition and place.
    pub fn pending(&self) -> impl Iterator<Item = (Partition, Seq, &Arc<Message>)> {
        self.tables().flat_map(|(partition, table)| {
            table.rows.iter().map(move |(seq, row)| (partition, *seq, &row.message))
        })
    }

    /// The messages among the dead letters now, also those that wait behind one that died, in the
    /// order in which they came there.
    pub fn dead(&self) -> impl Iterator<Item = &Arc<Message>> {
        self.dead.iter().map(|dead| &dead.row.message)
    }

    /// The ids of all messages that ever became dead letters, in order of death, also of those
    /// that were redriven or discarded later.
    pub fn died(&self) -> &[Uuid] {
        &self.died
    }

    /// What happened so far.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    pub(super) fn sabotaged(&self, sabotage: Sabotage) -> bool {
        self.sabotages.contains(&sabotage)
    }

    pub(super) fn tables(&self) -> impl Iterator<Item = (Partition, &PartitionTable)> {
        (0..).map(Partition).zip(&self.partitions)
    }

    /// Requests name partitions that exist, else the relay and the migration disagree on N.
    pub(super) fn table(&self, partition: Partition) -> &PartitionTable {
        self.partitions.get(usize::from(partition.0)).expect("the partition exists")
    }

    pub(super) fn table_mut(&mut self, partition: Partition) -> &mut PartitionTable {
        self.partitions.get_mut(usize::from(partition.0)).expect("the partition exists")
    }

    pub(super) fn bury(&mut self, dead: DeadRow) {
        if dead.waits() {
            self.counters.parked += 1;
        } else {
            self.counters.dead_lettered += 1;
            self.died.push(dead.row.message.id());
        }
        self.dead.push(dead);
    }

    /// The id of a transaction that does its work within the call.
    pub(super) fn passing_tx(&mut self) -> Option<TxId> {
        (self.visibility == Visibility::Snapshot).then(|| self.assign_tx())
    }

    /// Every transaction below it has ended.
    pub(super) fn xmin(&self) -> Option<TxId> {
        if self.visibility != Visibility::Snapshot {
            return None;
        }
        let next = TxId(self.next_tx);
        if self.sabotaged(Sabotage::LyingXmin) {
            return Some(next);
        }
        Some(self.open_ids.first().copied().unwrap_or(next))
    }

    pub(super) fn next_seq(&mut self) -> Seq {
        loop {
            self.last_seq += 1;
            let seq = Seq(self.last_seq);
            // Only a rewound sequence can meet a row.
            if seq.0 > self.highest_seq || !self.occupied(seq) {
                self.highest_seq = self.highest_seq.max(seq.0);
                return seq;
            }
        }
    }

    fn insert_row(
        &mut self,
        now: Duration,
        transaction: Transaction,
        message: Arc<Message>,
        defect: Option<Reason>,
    ) -> Seq {
        if self.writer_mut(transaction).id.is_none() {
            let id = self.assign_tx();
            self.open_ids.insert(id);
            self.writer_mut(transaction).id = Some(id);
        }
        let seq = self.next_seq();
        let partition = Partition::of_message(&message, self.partitions());
        let row = Row { message, inserted_at: now, attempts: 0, retry_at: None, defect };
        self.writer_mut(transaction).rows.push((partition, seq, row));
        seq
    }

    fn assign_tx(&mut self) -> TxId {
        let id = TxId(self.next_tx);
        self.next_tx += 1;
        id
    }

    fn writer_mut(&mut self, transaction: Transaction) -> &mut Writer {
        self.writers.get_mut(&transaction).expect("the transaction is open")
    }

    fn end(&mut self, transaction: Transaction) -> Writer {
        let writer = self.writers.remove(&transaction).expect("the transaction is open");
        if let Some(id) = writer.id {
            self.open_ids.remove(&id);
        }
        writer
    }

    fn occupied(&self, seq: Seq) -> bool {
        let visible = self.partitions.iter().any(|table| table.rows.contains_key(&seq));
        visible || self.writers.values().any(|w| w.rows.iter().any(|(_, taken, _)| *taken == seq))
    }
}
