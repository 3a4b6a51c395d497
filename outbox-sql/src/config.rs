//! How a store uses its database.

use std::time::Duration;

use crate::Names;

/// Settings of a [`SqlStore`](crate::SqlStore).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoreConfig {
    /// Which outbox.
    pub names: Names,
    /// Connections of the store's own, 1 to 3; other numbers count as the nearest of them. With 3
    /// leases, reading and settling don't wait for each other; with 2 reading and settling do;
    /// with 1 all do, and a slow page can cost a lease. To PostgreSQL there are 2 for a moment, when
    /// the store is opened.
    pub connections: u8,
    /// How long a statement waits for a lock before it is tried again.
    pub lock_timeout: Duration,
    /// How often a conflict is tried again before it is returned.
    pub conflict_retries: u32,
    /// MySQL and MariaDB only: the longest time that a producer's transaction takes, from its
    /// first enqueueing to its commit. A message of a longer one can be late by the relay's next
    /// full look.
    pub longest_transaction: Duration,
}

impl Default for StoreConfig {
    fn default() -> Self {
        Self {
            names: Names::default(),
            connections: 3,
            lock_timeout: Duration::from_secs(1),
            conflict_retries: 5,
            longest_transaction: Duration::from_mins(1),
        }
    }
}
