//! What an adapter provides.

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Message, Publisher};

/// A fresh destination for one test.
///
/// Tests run at the same time; each has a destination of its own.
#[async_trait]
pub trait PublisherHarness: Send + Sync + 'static {
    /// Makes an empty destination. It panics where there can be none: a
    /// test that is left out looks as if it had passed.
    async fn open() -> Self
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

    /// Where there is no way to fail a single message: a topic whose messages the broker refuses
    /// until [`accept`](Self::accept) is called, and which [`arrived`](Self::arrived) reads, too.
    async fn refuse(&self) -> Option<String> {
        None
    }

    /// Lets the broker take the messages of the topic that [`refuse`](Self::refuse) gave.
    async fn accept(&self) {}

    /// Where the broker can't be made to refuse anything either: the adapter's own test of what it
    /// keeps when a message in the middle of a batch fails, by its full name in the same program.
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
