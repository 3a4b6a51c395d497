//! The contract of a store towards its operator.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use uuid::Uuid;

use crate::{Message, Partition, RelayId, StoreError};

/// What an operator asks of an outbox.
#[async_trait]
pub trait Admin: Send + Sync {
    /// How the outbox stands now.
    async fn stats(&self) -> Result<Stats, StoreError>;

    /// Dead letters that match, the oldest first, at most `limit`.
    async fn dead_letters(
        &self,
        filter: &DeadFilter,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError>;

    /// Puts dead letters that match back into the outbox, with no attempts. Returns how many.
    ///
    /// One that was skipped gets a new place, behind all that is pending. One of a parked lane comes
    /// back with the whole lane, each message at the place that it had, in front of newer ones:
    /// relays that run notice, and read the partition from its start. It is an error if such a place
    /// was given out again, by a database that was restored.
    async fn redrive(&self, change: &DeadChange) -> Result<u64, StoreError>;

    /// Deletes dead letters that match. Returns how many. What only waits in a parked lane is never
    /// deleted: when the message that it waits behind is, it goes back into the outbox.
    async fn discard(&self, change: &DeadChange) -> Result<u64, StoreError>;

    /// Deletes dead letters that died longer ago than `age`, at most `limit` in this call, so that
    /// a clean-up can go in bounded steps. Parked lanes stay. Returns how many.
    async fn purge(&self, age: Duration, limit: u32) -> Result<u64, StoreError>;

    /// What was redriven and discarded, the latest first, at most `limit`.
    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError>;
}

/// Asks for a change of dead letters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadChange {
    /// Which are meant.
    pub filter: DeadFilter,
    /// The most that may match; parked lanes that they bring with them are not counted.
    pub limit: u32,
    /// Who asks; the audit shows it.
    pub by: Arc<str>,
    /// Change nothing, and tell how many would be.
    pub dry_run: bool,
}

impl DeadChange {
    /// What all that match `filter` are asked for by `by`.
    pub fn new(by: impl Into<Arc<str>>, filter: DeadFilter) -> Self {
        Self { filter, limit: u32::MAX, by: by.into(), dry_run: false }
    }
}

/// Who changed which dead letters, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditEntry {
    /// When, by the database's clock.
    pub at: SystemTime,
    /// Who.
    pub by: String,
    /// `redrive` or `discard`.
    pub action: String,
    /// Which were meant, in words.
    pub filter: String,
    /// How many messages were changed.
    pub messages: u64,
}

/// Which dead letters; the conditions that are set must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DeadFilter {
    /// That message.
    pub id: Option<Uuid>,
    /// That topic.
    pub topic: Option<Arc<str>>,
    /// That key.
    pub key: Option<Arc<str>>,
    /// Those that died, or were parked, longer ago than this, by the database's clock.
    pub older_than: Option<Duration>,
    /// Those whose error contains this text.
    pub error: Option<Arc<str>>,
}

impl fmt::Display for DeadFilter {
    /// In words, such as `topic "orders", error with "refused"`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { id, topic, key, older_than, error } = self;
        let parts = [
            id.map(|id| format!("id {id}")),
            topic.as_ref().map(|topic| format!("topic {topic:?}")),
            key.as_ref().map(|key| format!("key {key:?}")),
            older_than.map(|age| format!("older than {age:?}")),
            error.as_ref().map(|text| format!("error with {text:?}")),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        f.write_str(if parts.is_empty() { "all" } else { "" })?;
        f.write_str(&parts.join(", "))
    }
}

/// A message that was given up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeadLetter {
    /// The message as it was.
    pub message: Message,
    /// Its partition.
    pub partition: Partition,
    /// How many attempts failed.
    pub attempts: u32,
    /// Why it was given up.
    pub error: String,
    /// When, by the database's clock.
    pub died_at: SystemTime,
    /// The message that its lane is parked behind: itself, or one that it waits for.
    pub behind: Option<Uuid>,
}

impl DeadLetter {
    /// It didn't die itself, but waits behind one that did.
    pub fn waits(&self) -> bool {
        self.behind.is_some_and(|behind| behind != self.message.id())
    }
}

/// How an outbox stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Pending messages.
    pub depth: u64,
    /// The age of the oldest pending message: from its creation, by its producer's clock, to now,
    /// by the database's.
    pub oldest_age: Option<Duration>,
    /// Messages that died.
    pub dead: u64,
    /// Messages that wait behind one that died, in a parked lane.
    pub parked: u64,
    /// Every partition, ascending.
    pub partitions: Vec<PartitionStats>,
    /// Live relays.
    pub relays: u64,
}

/// How one partition stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionStats {
    /// Which partition.
    pub partition: Partition,
    /// Pending messages.
    pub depth: u64,
    /// Its owner, if it has a live one.
    pub owner: Option<RelayId>,
}
