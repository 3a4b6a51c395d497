//! What the tests publish with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::{Limits, Message, Outcome, Publisher};
use outbox_kafka::KafkaPublisher;
use uuid::Uuid;

use crate::broker::PATIENCE;

pub(crate) async fn connect(url: &str) -> KafkaPublisher {
    KafkaPublisher::connect(url.parse().unwrap()).await.unwrap()
}

pub(crate) async fn publish(publisher: &KafkaPublisher, messages: &[Message]) -> Vec<Outcome> {
    publish_within(publisher, messages, PATIENCE).await
}

pub(crate) async fn publish_within(
    publisher: &KafkaPublisher,
    messages: &[Message],
    patience: Duration,
) -> Vec<Outcome> {
    let batch = batch(messages);
    let mut outcomes = vec![Outcome::Unknown; batch.len()];
    publisher.publish(&batch, Instant::now() + patience, &mut outcomes).await;
    outcomes
}

pub(crate) fn batch(messages: &[Message]) -> Vec<Arc<Message>> {
    messages.iter().cloned().map(Arc::new).collect()
}

pub(crate) fn ids(messages: &[Message]) -> Vec<Uuid> {
    messages.iter().map(Message::id).collect()
}

/// Messages that nothing is wrong with, each of a key of its own.
pub(crate) fn messages(topic: &str, count: usize) -> Vec<Message> {
    (0..count).map(|n| message(topic, &format!("key-{n}"), 100)).collect()
}

pub(crate) fn message(topic: &str, key: &str, size: usize) -> Message {
    let limits = Limits { payload: 4 * 1024 * 1024, ..Limits::default() };
    Message::bytes(topic, vec![b'x'; size]).key(key).build_within(&limits).unwrap()
}

/// The reason of a rejection.
pub(crate) fn rejected(outcome: &Outcome) -> &str {
    let Outcome::Rejected(reason) = outcome else { panic!("{outcome:?}") };
    reason.as_str()
}
