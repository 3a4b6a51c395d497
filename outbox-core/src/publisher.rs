//! The contract of a broker adapter.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;

use crate::{Epoch, Message, Partition, Reason};

/// Sends messages to a broker.
///
/// `publish`:
/// - answers for each message on its own, by writing `outcomes[i]` for `batch[i]`; what it does
///   not write stays [`Outcome::Unknown`];
/// - writes [`Outcome::Delivered`] only once the broker has acknowledged the message as durably
///   as it was asked to;
/// - writes an outcome as soon as it is known: the caller owns `outcomes`, so that what was
///   confirmed survives when the call is dropped at its deadline or panics;
/// - hands no byte of these messages to the operating system after it has returned or was
///   dropped; where it can it also takes back what stands in a connection's buffers unsent;
/// - accepts the messages of one key in the batch's order, and keeps what
///   [`ordering`](Publisher::ordering) declares when one of them fails;
/// - may be called several times at once; the relay never has one key in two calls;
/// - sends each batch at most once: retrying is the relay's.
#[async_trait]
pub trait Publisher: Send + Sync {
    /// What the broker's client really keeps when a message in the middle of a batch fails.
    fn ordering(&self) -> Ordering {
        Ordering::Independent
    }

    /// The largest batch that one call takes.
    fn limits(&self) -> BatchLimits {
        BatchLimits::default()
    }

    /// Sends `batch`, at the latest until `deadline`.
    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]);

    /// The same, and `tokens[i]` says under which epoch `batch[i]` is sent. It is what relays call;
    /// for whoever holds no partitions `tokens` is empty.
    ///
    /// A broker that can compare has a message refused whose epoch is older than one that it has
    /// seen for that partition, or whose partition it doesn't let be claimed: [`Outcome::Fenced`]. A
    /// publisher for any other broker leaves this as it is. One that wraps another hands the tokens
    /// on.
    async fn publish_fenced(
        &self,
        batch: &[Arc<Message>],
        tokens: &[FencingToken],
        deadline: Instant,
        outcomes: &mut [Outcome],
    ) {
        let _ = tokens;
        self.publish(batch, deadline, outcomes).await;
    }

    /// Says whether the broker can be used now, for readiness checks.
    async fn check(&self) -> Result<(), Reason>;

    /// Flushes and disconnects. Publishing afterwards gives [`Outcome::Unavailable`].
    async fn close(&self) -> Result<(), Reason>;
}

/// What a message is sent under: who holds its partition has the highest epoch of all who ever did.
///
/// The name is Martin Kleppmann's (*How to do distributed locking*, 2016).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct FencingToken {
    /// The partition of the message.
    pub partition: Partition,
    /// The epoch of the lease.
    pub epoch: Epoch,
}

/// What became of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The broker has it, as durably as it was asked to.
    Delivered,
    /// This message failed this time: an attempt counts, and it is tried again later.
    Failed(Reason),
    /// This message can never be published: too large, or no such destination.
    Rejected(Reason),
    /// The broker asks to wait that long; no attempt counts.
    Throttled(Duration),
    /// The broker, not the message: no attempt counts, and the destination rests.
    Unavailable(Reason),
    /// Another has claimed its partition at the broker, which doesn't have it: no attempt counts, and
    /// its lane rests. Who sends it has lost the partition, its database has lost epochs, a former
    /// owner is still at work, or no further claim is taken.
    Fenced(Reason),
    /// No answer in time. The broker may have it.
    Unknown,
}

/// What holds within one call of [`Publisher::publish`] for messages of one key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ordering {
    /// A message may be accepted though one before it was not: the relay sends one message of a
    /// lane at a time.
    #[default]
    Independent,
    /// If one message of a key isn't accepted, none after it is: the relay sends runs. The first
    /// that wasn't delivered decides over those after it, whatever outcome is given for them, but
    /// for one that is [`Outcome::Delivered`] all the same: the broker has it, and it isn't sent
    /// again.
    PrefixPerKey,
}

/// How much one call of [`Publisher::publish`] takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchLimits {
    /// Messages, at least 1.
    pub messages: usize,
    /// Bytes by [`Message::size`]. A single message is sent whatever its size.
    pub bytes: usize,
}

impl Default for BatchLimits {
    fn default() -> Self {
        Self { messages: 500, bytes: 4 * 1024 * 1024 }
    }
}
