//! One Kafka transaction per batch.

use std::time::Duration;

use outbox_core::{Message, Ordering, Outcome, Publisher};
use outbox_kafka::KafkaPublisher;

use crate::broker::{new_topic, servers, shared};
use crate::consumer;
use crate::publishing::{connect, ids, message, messages, publish, rejected};

/// Three messages of one key, each in a request of its own, of which the broker refuses the
/// second; and one of another key.
async fn run_with_poison(options: &str) -> (KafkaPublisher, Vec<Message>, String) {
    let url = shared();
    let topic = new_topic(&servers(&url), &[("max.message.bytes", "5000")]).await;
    let publisher = connect(&format!("{url}?batch.num.messages=1{options}")).await;
    let batch = [("k", 10), ("k", 20_000), ("k", 10), ("other", 10)];
    let batch = batch.map(|(key, size)| message(&topic, key, size));
    (publisher, batch.to_vec(), url)
}

#[tokio::test]
async fn what_follows_a_refused_message_is_not_there() {
    let (publisher, batch, url) = run_with_poison("&transactional_id=test").await;
    assert_eq!(publisher.ordering(), Ordering::PrefixPerKey);
    let outcomes = publish(&publisher, &batch).await;
    rejected(&outcomes[1]);
    assert_eq!(outcomes[0], Outcome::Delivered);
    assert_eq!(outcomes[2], Outcome::Throttled(Duration::ZERO), "it follows the refused one");
    assert_eq!(outcomes[3], Outcome::Delivered);
    let mut arrived = ids(&consumer::read(&servers(&url), batch[0].topic()).await);
    let mut expected = vec![batch[0].id(), batch[3].id()];
    arrived.sort_unstable();
    expected.sort_unstable();
    assert_eq!(arrived, expected);
    assert_eq!(publish(&publisher, &batch[2..3]).await, [Outcome::Delivered]);
}

#[tokio::test]
async fn what_follows_a_message_that_can_not_be_sent_waits() {
    let url = shared();
    let topic = new_topic(&servers(&url), &[]).await;
    let publisher = connect(&format!("{url}?transactional_id=test")).await;
    let large = 1024 * 1024;
    let batch = [("k", 10), ("k", large), ("k", 10), ("other", 10)];
    let batch = batch.map(|(key, size)| message(&topic, key, size));
    let outcomes = publish(&publisher, &batch).await;
    rejected(&outcomes[1]);
    let others = [&outcomes[0], &outcomes[2], &outcomes[3]];
    let again = Outcome::Throttled(Duration::ZERO);
    assert_eq!(others, [&Outcome::Delivered, &again, &Outcome::Delivered]);
}

/// Why the other mode declares nothing better.
#[tokio::test]
async fn without_them_a_message_is_accepted_though_one_before_it_is_not() {
    let (publisher, batch, url) = run_with_poison("").await;
    assert_eq!(publisher.ordering(), Ordering::Independent);
    let outcomes = publish(&publisher, &batch).await;
    rejected(&outcomes[1]);
    assert_eq!(outcomes[2], Outcome::Delivered);
    let arrived = ids(&consumer::read(&servers(&url), batch[0].topic()).await);
    assert!(arrived.contains(&batch[2].id()) && !arrived.contains(&batch[1].id()));
}

#[tokio::test]
async fn relays_with_one_configuration_do_not_fence_each_other() {
    let url = shared();
    let topic = new_topic(&servers(&url), &[]).await;
    let url = format!("{url}?transactional_id=same");
    let relays = [connect(&url).await, connect(&url).await];
    for _ in 0..3 {
        for relay in &relays {
            let outcomes = publish(relay, &messages(&topic, 5)).await;
            assert_eq!(outcomes, vec![Outcome::Delivered; 5]);
        }
    }
}
