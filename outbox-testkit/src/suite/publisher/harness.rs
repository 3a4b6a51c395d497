//! What an adapter provides.

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Message, Publisher};

/// A fresh destination for one test.
///
/// Tests run at the same time; each has a destination of its own.
#[async_trait]
pub trait PublisherHarness: Send + Sync + 'static {
    /// Makes an empty destination. An error says why there can be none here: the test is then
    /// skipped, or fails where `CI` is set.
    async fn open() -> Result<Self, String>
    where
        Self: Sized;

    /// A publisher with a connection of its own.
    async fn publisher(&self) -> Arc<dyn Publisher>;

    /// The topic that leads to the destination.
    fn topic(&self) -> String;

    /// All that has arrived since [`open`](Self::open), read as a consumer reads it, messages of
    /// one key in their order. What a broker adds of its own, such as headers, is left out.
    async fn arrived(&self) -> Vec<Message>;

    /// Makes the broker fail the next publish of that message, though not of those around it.
    /// `false` if there is no way to.
    async fn fail_next(&self, message: &Message) -> bool {
        let _ = message;
        false
    }

    /// For a publisher that declares [`PrefixPerKey`](outbox_core::Ordering::PrefixPerKey) but
    /// can't fail single messages: the adapter's own test that proves it.
    fn ordering_proved_by(&self) -> Option<&'static str> {
        None
    }

    /// A size of payload that the broker never takes, though the table does.
    fn too_large(&self) -> Option<usize> {
        None
    }

    /// Removes what `open` made. Not called after a test that failed.
    async fn close(self: Box<Self>) {}
}
