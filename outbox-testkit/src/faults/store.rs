//! A store whose connection breaks.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{
    FetchRequest, LeaseReport, LeaseRequest, Page, RereadRequest, SettleReport, SettleRequest,
    Store, StoreError, StoreErrorKind, StoredRow, Visibility,
};

use super::{Call, Injector};

/// How a call to a store goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreFault {
    /// An error, and nothing has happened.
    Fail,
    /// An error, though the database has done it.
    LoseReply,
    /// It takes that much longer. Longer than its caller waits, it never happens.
    Delay(Duration),
    /// It panics, though the database has done it.
    Panic,
}

/// A [`Store`] that goes wrong as its [`Injector`] says.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Injector<StoreFault>,
}

impl FaultyStore {
    /// Wraps a store. Nothing goes wrong until [`faults`](Self::faults) is told to; `seed` is
    /// that of its dice.
    pub fn new(inner: Arc<dyn Store>, seed: u64) -> Self {
        Self { inner, faults: Injector::new(seed) }
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Injector<StoreFault> {
        &self.faults
    }

    async fn call<T>(
        &self,
        call: Call,
        size: usize,
        answer: impl Future<Output = Result<T, StoreError>> + Send,
    ) -> Result<T, StoreError> {
        let broken = |text| Err(StoreError::new(StoreErrorKind::Unavailable, text));
        match self.faults.draw(call, size) {
            None => answer.await,
            Some(StoreFault::Fail) => broken("injected: the connection broke before"),
            Some(StoreFault::LoseReply) => {
                answer.await?;
                broken("injected: the connection broke after")
            }
            Some(StoreFault::Delay(delay)) => {
                tokio::time::sleep(delay).await;
                answer.await
            }
            Some(StoreFault::Panic) => {
                answer.await?;
                panic!("injected: {call:?} panics")
            }
        }
    }
}

impl fmt::Debug for FaultyStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyStore").field("faults", &self.faults).finish_non_exhaustive()
    }
}

#[async_trait]
impl Store for FaultyStore {
    fn partitions(&self) -> u16 {
        self.inner.partitions()
    }

    fn visibility(&self) -> Visibility {
        self.inner.visibility()
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<LeaseReport, StoreError> {
        let size = request.take.len() + request.release.len();
        self.call(Call::Lease, size, self.inner.lease(request)).await
    }

    async fn fetch(&self, request: &FetchRequest) -> Result<Page, StoreError> {
        self.call(Call::Fetch, request.reads.len(), self.inner.fetch(request)).await
    }

    async fn reread(&self, request: &RereadRequest) -> Result<Vec<StoredRow>, StoreError> {
        self.call(Call::Reread, request.lanes.len(), self.inner.reread(request)).await
    }

    async fn settle(&self, request: &SettleRequest) -> Result<SettleReport, StoreError> {
        let size = request.delivered.len() + request.verdicts.len();
        self.call(Call::Settle, size, self.inner.settle(request)).await
    }
}
