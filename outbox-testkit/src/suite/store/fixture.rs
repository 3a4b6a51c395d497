//! What the tests share: short names for common requests.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{
    Admin, DeadChange, DeadFilter, DeadLetter, Epoch, Fate, FetchRequest, LeaseReport,
    LeaseRequest, Message, Page, Partition, PartitionRead, Reason, RelayId, RowRef, Seq,
    SettleReport, SettleRequest, Store, StoredRow, Verdict, VerdictAnswer,
};
use uuid::Uuid;

use super::StoreHarness;
use crate::adapter::row_ref;

/// Holds throughout a test.
pub(super) const LONG: Duration = Duration::from_mins(1);
/// Runs out within a test.
pub(super) const SHORT: Duration = Duration::from_millis(300);
/// More than any test writes.
pub(super) const ALL: u32 = 10_000;

/// A fresh outbox, and a store and an operator on it.
#[expect(missing_debug_implementations, reason = "a harness has nothing to show")]
pub struct Fixture {
    pub(super) harness: Box<dyn StoreHarness>,
    pub(super) store: Arc<dyn Store>,
    pub(super) admin: Arc<dyn Admin>,
}

/// A relay with connections of its own.
pub(super) struct Relay {
    pub(super) id: RelayId,
    pub(super) store: Arc<dyn Store>,
}

impl Fixture {
    pub(super) async fn new(harness: Box<dyn StoreHarness>) -> Self {
        let (store, admin) = (harness.store().await, harness.admin().await);
        Self { harness, store, admin }
    }

    pub(super) async fn close(self) {
        let Self { harness, store, admin } = self;
        drop((store, admin));
        harness.close().await;
    }

    pub(super) async fn relay(&self) -> Relay {
        Relay { id: RelayId(Uuid::now_v7()), store: self.harness.store().await }
    }

    pub(super) async fn wait(&self, duration: Duration) {
        self.harness.wait(duration).await;
    }

    pub(super) async fn enqueue(&self, messages: &[Message]) {
        let mut writer = self.harness.begin().await;
        writer.insert(messages).await;
        writer.commit().await;
    }

    /// Enqueues messages, and reads the rows that they became, in the same order.
    pub(super) async fn rows_of(&self, messages: &[Message]) -> Vec<StoredRow> {
        self.enqueue(messages).await;
        let mut rows = self.pending().await;
        let row = |message: &Message| {
            let at = rows.iter().position(|row| row.message.id() == message.id());
            rows.swap_remove(at.expect("an enqueued message is pending"))
        };
        messages.iter().map(row).collect()
    }

    /// Enqueues a message and moves it to the dead letters.
    pub(super) async fn bury(&self, message: &Message, error: &str) -> StoredRow {
        let row = self.rows_of(std::slice::from_ref(message)).await.remove(0);
        let relay = self.relay().await;
        let epoch = relay.take(row.partition, LONG).await;
        let answer = relay.decide(verdict(&row, epoch, 3, Fate::Dead, error)).await;
        assert_eq!(answer, VerdictAnswer::Applied);
        relay.leave().await;
        row
    }

    pub(super) async fn dead(&self) -> Vec<DeadLetter> {
        self.admin.dead_letters(&DeadFilter::default(), ALL).await.unwrap()
    }

    pub(super) async fn redrive(&self, filter: &DeadFilter, limit: u32) -> u64 {
        self.admin.redrive(&change(filter, limit)).await.unwrap()
    }

    pub(super) async fn discard(&self, filter: &DeadFilter, limit: u32) -> u64 {
        self.admin.discard(&change(filter, limit)).await.unwrap()
    }

    /// All rows of all partitions, by place.
    pub(super) async fn pending(&self) -> Vec<StoredRow> {
        let reads = self.partitions().map(|partition| read(partition, Seq::START)).collect();
        let mut rows = self.fetch(reads).await.rows;
        rows.sort_by_key(|row| row.seq);
        rows
    }

    /// Fetches without a look.
    pub(super) async fn fetch(&self, reads: Vec<PartitionRead>) -> Page {
        self.look(reads, Seq(i64::MAX), ALL).await
    }

    pub(super) async fn look(
        &self,
        reads: Vec<PartitionRead>,
        horizon: Seq,
        look_limit: u32,
    ) -> Page {
        self.store.fetch(&FetchRequest { reads, horizon, look_limit }).await.unwrap()
    }

    pub(super) async fn deliver(&self, rows: &[RowRef]) -> SettleReport {
        self.relay().await.deliver(rows).await
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.store.partitions()).map(Partition)
    }

    pub(super) fn partition_of(&self, key: &str) -> Partition {
        Partition::of(key.as_bytes(), self.store.partitions())
    }

    /// Different keys of one partition.
    pub(super) fn keys_in(&self, partition: Partition) -> impl Iterator<Item = String> {
        let keys = (0..).map(|n| format!("key-{n}"));
        keys.filter(move |key| self.partition_of(key) == partition)
    }

    pub(super) fn key_in(&self, partition: Partition) -> String {
        self.keys_in(partition).next().expect("there are keys in each partition")
    }
}

impl Relay {
    pub(super) fn request(&self, ttl: Duration) -> LeaseRequest {
        LeaseRequest {
            relay: self.id,
            ttl,
            take: Vec::new(),
            release: Vec::new(),
            sick: false,
            leaving: false,
        }
    }

    pub(super) async fn lease(&self, request: LeaseRequest) -> LeaseReport {
        self.store.lease(&request).await.unwrap()
    }

    pub(super) async fn renew(&self, ttl: Duration) -> LeaseReport {
        self.lease(self.request(ttl)).await
    }

    /// Tries to take a partition.
    pub(super) async fn try_take(&self, partition: Partition, ttl: Duration) -> LeaseReport {
        self.lease(LeaseRequest { take: vec![partition], ..self.request(ttl) }).await
    }

    /// Takes a partition that is free.
    pub(super) async fn take(&self, partition: Partition, ttl: Duration) -> Epoch {
        let report = self.try_take(partition, ttl).await;
        let lease = report.leases[usize::from(partition.0)];
        assert_eq!(lease.owner, Some(self.id), "a free partition is taken");
        lease.epoch
    }

    pub(super) async fn release(&self, partition: Partition, epoch: Epoch) -> LeaseReport {
        self.lease(LeaseRequest { release: vec![(partition, epoch)], ..self.request(LONG) }).await
    }

    pub(super) async fn leave(&self) -> LeaseReport {
        self.lease(LeaseRequest { leaving: true, ..self.request(LONG) }).await
    }

    pub(super) async fn settle(
        &self,
        delivered: Vec<RowRef>,
        verdicts: Vec<Verdict>,
    ) -> SettleReport {
        self.store.settle(&SettleRequest { relay: self.id, delivered, verdicts }).await.unwrap()
    }

    pub(super) async fn deliver(&self, rows: &[RowRef]) -> SettleReport {
        self.settle(rows.to_vec(), Vec::new()).await
    }

    pub(super) async fn decide(&self, verdict: Verdict) -> VerdictAnswer {
        let report = self.settle(Vec::new(), vec![verdict]).await;
        assert_eq!(report.verdicts.len(), 1, "one answer for each verdict");
        report.verdicts[0]
    }
}

fn change(filter: &DeadFilter, limit: u32) -> DeadChange {
    DeadChange { limit, ..DeadChange::new("suite", filter.clone()) }
}

pub(super) fn message(key: &str) -> Message {
    Message::bytes("orders", "payload").key(key).build().unwrap()
}

pub(super) fn messages(key: &str, count: usize) -> Vec<Message> {
    (0..count).map(|_| message(key)).collect()
}

/// A message of that many bytes of payload.
pub(super) fn sized(key: &str, bytes: usize) -> Message {
    Message::bytes("orders", vec![7; bytes]).key(key).build().unwrap()
}

pub(super) fn read(partition: Partition, after: Seq) -> PartitionRead {
    PartitionRead { partition, after, limit: ALL, bytes: u64::MAX, parked: false }
}

pub(super) fn verdict(
    row: &StoredRow,
    epoch: Epoch,
    attempts: u32,
    fate: Fate,
    error: &str,
) -> Verdict {
    Verdict { row: row_ref(row), epoch, attempts, error: Reason::new(error), fate }
}

pub(super) fn seqs(rows: &[StoredRow]) -> Vec<Seq> {
    rows.iter().map(|row| row.seq).collect()
}

pub(super) fn ids(rows: &[StoredRow]) -> Vec<Uuid> {
    rows.iter().map(|row| row.message.id()).collect()
}

pub(super) fn ids_of(messages: &[Message]) -> Vec<Uuid> {
    messages.iter().map(Message::id).collect()
}
