//! The reference database behind the traits of the core.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use outbox_core::{
    Admin, AuditEntry, DeadChange, DeadFilter, DeadLetter, FetchRequest, LeaseReport, LeaseRequest,
    Page, RereadRequest, SettleReport, SettleRequest, Stats, Store, StoreError, StoredRow,
    Visibility,
};
use tokio::time::Instant;

use super::Database;

type Clock = dyn Fn() -> Duration + Send + Sync;

/// A [`Store`] and [`Admin`] over a [`Database`]. Clones share it, as connections do.
#[derive(Clone)]
pub struct MemoryStore {
    database: Arc<Mutex<Database>>,
    clock: Arc<Clock>,
    partitions: u16,
    visibility: Visibility,
}

impl MemoryStore {
    /// An empty outbox. Its clock starts at the system's time and runs with tokio's, which a test
    /// can pause.
    pub fn new(partitions: u16, visibility: Visibility) -> Self {
        let epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let start = Instant::now();
        let database = Arc::new(Mutex::new(Database::new(partitions, visibility)));
        Self::over(database, move || epoch + start.elapsed())
    }

    /// A store over a database that others use too, with a clock of the caller's.
    pub fn over(
        database: Arc<Mutex<Database>>,
        clock: impl Fn() -> Duration + Send + Sync + 'static,
    ) -> Self {
        let (partitions, visibility) = {
            let database = database.lock().unwrap_or_else(PoisonError::into_inner);
            (database.partitions(), database.visibility())
        };
        Self { database, clock: Arc::new(clock), partitions, visibility }
    }

    /// The database, locked: for writers and judges. Don't hold it over an `await`.
    pub fn database(&self) -> MutexGuard<'_, Database> {
        self.database.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The database's clock.
    pub fn now(&self) -> Duration {
        (self.clock)()
    }
}

impl fmt::Debug for MemoryStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryStore")
            .field("partitions", &self.partitions)
            .field("visibility", &self.visibility)
            .finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for MemoryStore {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    fn visibility(&self) -> Visibility {
        self.visibility
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<LeaseReport, StoreError> {
        Ok(self.database().lease(self.now(), request))
    }

    async fn fetch(&self, request: &FetchRequest) -> Result<Page, StoreError> {
        Ok(self.database().fetch(self.now(), request))
    }

    async fn reread(&self, request: &RereadRequest) -> Result<Vec<StoredRow>, StoreError> {
        Ok(self.database().reread(self.now(), request))
    }

    async fn settle(&self, request: &SettleRequest) -> Result<SettleReport, StoreError> {
        Ok(self.database().settle(self.now(), request))
    }
}

#[async_trait]
impl Admin for MemoryStore {
    async fn stats(&self) -> Result<Stats, StoreError> {
        Ok(self.database().stats(self.now()))
    }

    async fn dead_letters(
        &self,
        filter: &DeadFilter,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        Ok(self.database().dead_letters(self.now(), filter, limit))
    }

    async fn redrive(&self, change: &DeadChange) -> Result<u64, StoreError> {
        Ok(self.database().redrive(self.now(), change))
    }

    async fn discard(&self, change: &DeadChange) -> Result<u64, StoreError> {
        Ok(self.database().discard(self.now(), change))
    }

    async fn purge(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        Ok(self.database().purge(self.now(), age, limit))
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        Ok(self.database().audit(limit))
    }
}
