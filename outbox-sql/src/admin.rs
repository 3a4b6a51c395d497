//! What an operator asks.

mod audit;
mod change;
mod dead;
mod lanes;
mod stats;

use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Admin, AuditEntry, DeadChange, DeadFilter, DeadLetter, Stats, StoreError};

use crate::Driver;
use crate::store::{Purpose, SqlStore};
use change::{Action, Change};

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
        self.run(Purpose::Read, &dead::List { context: &self.context, filter, limit }).await
    }

    async fn redrive(&self, change: &DeadChange) -> Result<u64, StoreError> {
        self.change(Action::Redrive, change).await
    }

    async fn discard(&self, change: &DeadChange) -> Result<u64, StoreError> {
        self.change(Action::Discard, change).await
    }

    async fn purge(&self, age: Duration, limit: u32) -> Result<u64, StoreError> {
        let filter = DeadFilter { older_than: Some(age), ..DeadFilter::default() };
        self.change(Action::Purge, &DeadChange { limit, ..DeadChange::new("", filter) }).await
    }

    async fn audit(&self, limit: u32) -> Result<Vec<AuditEntry>, StoreError> {
        self.run(Purpose::Read, &audit::List { context: &self.context, limit }).await
    }
}

impl<D: Driver> SqlStore<D> {
    async fn change(&self, action: Action, asked: &DeadChange) -> Result<u64, StoreError> {
        let change = Change { context: &self.context, action, asked };
        self.run(Purpose::Settle, &change).await
    }
}
