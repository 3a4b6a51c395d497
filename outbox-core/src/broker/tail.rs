//! Reading what arrives.

use async_trait::async_trait;

use crate::{Message, Reason};

/// Reads what arrives at a destination, for people who look and for tests. It is no consumer for
/// a service: it begins with what arrives after it was made, acknowledges nothing that another
/// consumer waits for where the broker can do without, and keeps no position.
#[async_trait]
pub trait Tail: Send {
    /// Waits for the next message. An error ends the tail.
    ///
    /// What the publisher's adapter added is taken back: the message is as it was enqueued. One
    /// that no outbox sent is returned with a new id and what parts of it there are.
    async fn next(&mut self) -> Result<Message, Reason>;
}
