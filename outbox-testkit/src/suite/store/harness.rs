//! What an adapter provides.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Admin, Message, Store, Visibility};

/// A fresh outbox for one test, and its writers.
///
/// Tests run at the same time; each has an outbox of its own, by prefix, schema or file.
#[async_trait]
pub trait StoreHarness: Send + Sync + 'static {
    /// Makes an empty, migrated outbox with at least 4 partitions. It panics where there can be none: a
    /// test that is left out looks as if it had passed.
    async fn open() -> Self
    where
        Self: Sized;

    /// A store with connections of its own, as another process would have.
    async fn store(&self) -> Arc<dyn Store>;

    /// The operator's side.
    async fn admin(&self) -> Arc<dyn Admin>;

    /// Begins a transaction that writes messages.
    async fn begin(&self) -> Box<dyn Writer>;

    /// Whether several transactions may write at once. By default all but
    /// [`Visibility::Ordered`] say yes.
    async fn concurrent_writers(&self) -> bool {
        self.store().await.visibility() != Visibility::Ordered
    }

    /// Writes `message` as a row of which a part can't be read, such as headers that are not
    /// pairs of text, and commits. `false` if the tables allow no such row.
    async fn enqueue_defective(&self, message: &Message) -> bool {
        let _ = message;
        false
    }

    /// Waits until the database's clock has advanced that much.
    async fn wait(&self, duration: Duration) {
        tokio::time::sleep(duration).await;
    }

    /// Removes what `open` made. Not called after a test that failed.
    async fn close(self: Box<Self>) {}
}

/// An open transaction.
#[async_trait]
pub trait Writer: Send {
    /// Writes messages, in order.
    async fn insert(&mut self, messages: &[Message]);

    /// Commits.
    async fn commit(self: Box<Self>);

    /// Rolls back.
    async fn rollback(self: Box<Self>);
}
