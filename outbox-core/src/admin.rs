//! The contract of a store towards its operator.

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

    /// Puts dead letters that match back into the outbox, at most `limit`, with no attempts and a
    /// new place behind all that is pending. Returns how many.
    async fn redrive(&self, filter: &DeadFilter, limit: u32) -> Result<u64, StoreError>;

    /// Deletes dead letters that match, at most `limit`. Returns how many. Pending messages are
    /// never deleted.
    async fn discard(&self, filter: &DeadFilter, limit: u32) -> Result<u64, StoreError>;

    /// Deletes dead letters that died longer ago than `age`, at most `limit` in this call, so that
    /// a clean-up can go in bounded steps. Returns how many.
    async fn purge(&self, age: Duration, limit: u32) -> Result<u64, StoreError>;
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
}

/// How an outbox stands.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Stats {
    /// Pending messages.
    pub depth: u64,
    /// The age of the oldest pending message: from its creation, by its producer's clock, to now,
    /// by the database's.
    pub oldest_age: Option<Duration>,
    /// Dead letters.
    pub dead: u64,
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
