//! What an operator asks.

mod dead;
mod stats;

use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Admin, DeadFilter, DeadLetter, Stats, StoreError};

use crate::Driver;
use crate::store::{Purpose, SqlStore};
use dead::{Change, List, Remove, Which};

#[async_trait]
impl<D: Driver> Admin for SqlStore<D> {
    async fn stats(&self) -> Result<Stats, StoreError> {
        self.run(Purpose::Read, &stats::Read(&self.context)).await
    }

    async fn dead_letters(
        &self,
        filter: &DeadFilter,
        limit: u32,
    ) -> Result<Vec<DeadLetter>, StoreError> {
        let list = List { context: &self.context, filter, limit };
        self.run(Purpose::Read, &list).await
    }

    async fn redrive(&self, filter: &DeadFilter, limit: u32) -> Result<u64, StoreError> {
        self.remove(Change::Redrive, Which::Matching(filter), limit).await
    }

    async fn discard(&self, filter: &DeadFilter, limit: u32) -> Result<u64, StoreError> {
        self.remove(Change::Discard, Which::Matching(filter), limit).await
    }

    async fn purge(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        self.remove(Change::Discard, Which::OlderThan(age), limit).await
    }
}

impl<D: Driver> SqlStore<D> {
    async fn remove(
        &self,
        change: Change,
        which: Which<'_>,
        limit: u32,
    ) -> Result<u64, StoreError> {
        let remove = Remove { context: &self.context, change, which, limit };
        self.run(Purpose::Settle, &remove).await
    }
}
