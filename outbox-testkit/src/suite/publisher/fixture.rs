//! What the tests share.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::{Epoch, FencingToken, Message, MessageBuilder, Outcome, Partition, Publisher};
use uuid::Uuid;

use super::PublisherHarness;

/// Enough for any broker to answer.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// Nobody had a partition before.
pub(super) const FIRST: Epoch = Epoch(1);

/// A fresh destination, and a publisher to it.
#[expect(missing_debug_implementations, reason = "a harness has nothing to show")]
pub struct Fixture {
    pub(super) harness: Box<dyn PublisherHarness>,
    pub(super) publisher: Arc<dyn Publisher>,
}

impl Fixture {
    pub(super) async fn new(harness: Box<dyn PublisherHarness>) -> Self {
        let publisher = harness.publisher().await;
        Self { harness, publisher }
    }

    pub(super) async fn close(self) {
        let Self { harness, publisher } = self;
        drop(publisher);
        harness.close().await;
    }

    pub(super) fn bytes(&self, payload: impl Into<bytes::Bytes>) -> MessageBuilder {
        Message::bytes(self.harness.topic(), payload)
    }

    pub(super) fn message(&self, key: &str) -> Message {
        self.bytes("payload").key(key).build().unwrap()
    }

    pub(super) fn messages(&self, key: &str, count: usize) -> Vec<Message> {
        (0..count).map(|_| self.message(key)).collect()
    }

    pub(super) async fn publish(&self, messages: &[Message]) -> Vec<Outcome> {
        publish(&*self.publisher, messages).await
    }

    /// Publishes messages that nothing is wrong with.
    pub(super) async fn deliver(&self, messages: &[Message]) {
        let outcomes = self.publish(messages).await;
        assert_eq!(outcomes, vec![Outcome::Delivered; messages.len()]);
    }

    /// The ids of what arrived, of one key.
    pub(super) async fn arrived(&self, key: &str) -> Vec<Uuid> {
        let arrived = self.harness.arrived().await;
        arrived.iter().filter(|message| message.key() == Some(key)).map(Message::id).collect()
    }
}

pub(super) async fn publish(publisher: &dyn Publisher, messages: &[Message]) -> Vec<Outcome> {
    let batch = batch(messages);
    let mut outcomes = vec![Outcome::Unknown; batch.len()];
    let deadline = Instant::now() + DEADLINE;
    publisher.publish_fenced(&batch, &tokens(&batch, FIRST), deadline, &mut outcomes).await;
    outcomes
}

pub(super) fn batch(messages: &[Message]) -> Vec<Arc<Message>> {
    messages.iter().cloned().map(Arc::new).collect()
}

pub(super) fn ids(messages: &[Message]) -> Vec<Uuid> {
    messages.iter().map(Message::id).collect()
}

/// The tokens of a relay that holds all of 16 partitions, each under that epoch.
pub fn tokens(batch: &[Arc<Message>], epoch: Epoch) -> Vec<FencingToken> {
    let partition = |message: &Arc<Message>| Partition::of_message(message, 16);
    let token = |message| FencingToken { partition: partition(message), epoch };
    batch.iter().map(token).collect()
}
