//! What the tests publish with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::{Epoch, FencingToken, Message, Outcome, Partition, Publisher};
use outbox_nats::{NatsConfig, NatsPublisher};
use uuid::Uuid;

use crate::consumer::Stream;

pub(crate) async fn connect(config: NatsConfig) -> NatsPublisher {
    NatsPublisher::connect(config).await.unwrap()
}

pub(crate) async fn publish(publisher: &NatsPublisher, batch: &[Message]) -> Vec<Outcome> {
    publish_within(publisher, batch, Duration::from_secs(20)).await
}

pub(crate) async fn publish_within(
    publisher: &NatsPublisher,
    batch: &[Message],
    time: Duration,
) -> Vec<Outcome> {
    let batch: Vec<_> = batch.iter().cloned().map(Arc::new).collect();
    let mut outcomes = vec![Outcome::Unknown; batch.len()];
    publisher.publish(&batch, Instant::now() + time, &mut outcomes).await;
    outcomes
}

/// With a fence among the stream's subjects.
pub(crate) fn fenced(stream: &Stream) -> NatsConfig {
    NatsConfig { fence: Some("{topic}.fence".parse().unwrap()), ..stream.config() }
}

/// Those of a relay that has partition 3 under that epoch.
pub(crate) fn tokens(epoch: i64, count: usize) -> Vec<FencingToken> {
    vec![FencingToken { partition: Partition(3), epoch: Epoch(epoch) }; count]
}

pub(crate) async fn publish_as(
    publisher: &NatsPublisher,
    epoch: i64,
    batch: &[Message],
) -> Vec<Outcome> {
    let batch: Vec<_> = batch.iter().cloned().map(Arc::new).collect();
    let mut outcomes = vec![Outcome::Unknown; batch.len()];
    let (deadline, tokens) = (Instant::now() + Duration::from_secs(20), tokens(epoch, batch.len()));
    publisher.publish_fenced(&batch, &tokens, deadline, &mut outcomes).await;
    outcomes
}

pub(crate) fn ids(messages: &[Message]) -> Vec<Uuid> {
    messages.iter().map(Message::id).collect()
}

/// One message of each key.
pub(crate) fn keyed(topic: &str, keys: std::ops::Range<usize>) -> Vec<Message> {
    keys.map(|key| Message::bytes(topic, "").key(key).build().unwrap()).collect()
}

pub(crate) fn message(topic: &str) -> Message {
    Message::bytes(topic, "payload").build().unwrap()
}

pub(crate) fn reason(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failed(reason) | Outcome::Rejected(reason) | Outcome::Unavailable(reason) => {
            reason.as_str()
        }
        _ => panic!("{outcome:?} has no reason"),
    }
}

pub(crate) fn is_unavailable(outcome: &Outcome, says: &str) -> bool {
    matches!(outcome, Outcome::Unavailable(reason) if reason.as_str().contains(says))
}

pub(crate) fn has_failed(outcome: &Outcome, says: &str) -> bool {
    matches!(outcome, Outcome::Failed(reason) if reason.as_str().contains(says))
}

/// What a former owner is told, by the epoch of who has the partition.
pub(crate) fn is_fenced(outcome: &Outcome, by: i64) -> bool {
    is_fenced_for(outcome, &format!("a relay with the later epoch {by} has the partition"))
}

pub(crate) fn is_fenced_for(outcome: &Outcome, says: &str) -> bool {
    matches!(outcome, Outcome::Fenced(reason) if reason.as_str().contains(says))
}
