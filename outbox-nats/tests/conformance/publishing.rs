//! What the tests publish with.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::{Message, Outcome, Publisher};
use outbox_nats::{NatsConfig, NatsPublisher};

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
