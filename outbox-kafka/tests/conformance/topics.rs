//! Topics that there are, and those that there are not.

use std::time::Duration;

use outbox_core::{Message, Outcome};
use outbox_kafka::{KafkaConfig, KafkaPublisher};

use crate::broker::{self, new_topic, servers};
use crate::consumer;
use crate::publishing::{connect, message, messages, publish, publish_within, rejected, shared};

/// Row 47.
#[tokio::test]
async fn an_unknown_topic_is_rejected_and_others_are_not_affected() {
    let url = shared!();
    let topic = new_topic(&servers(&url), &[]).await;
    let missing = broker::new_name();
    let publisher = connect(&url).await;
    let batch = [message(&topic, "a", 1), message(&missing, "a", 1), message(&topic, "b", 1)];
    for _ in 0..2 {
        let outcomes = publish(&publisher, &batch).await;
        assert!(rejected(&outcomes[1]).contains("does not exist: create it"), "{outcomes:?}");
        assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
    }
    broker::create_topic(&servers(&url), &missing, &[]).await;
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 3]);
}

/// Row 47: the client asks before the topic is there.
#[tokio::test]
async fn a_topic_created_at_once_is_waited_for() {
    let url = shared!();
    let topic = broker::new_name();
    let publisher = connect(&format!("{url}?topic_wait_ms=20000")).await;
    let batch = messages(&topic, 3);
    let published = publish(&publisher, &batch);
    let create = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        broker::create_topic(&servers(&url), &topic, &[]).await;
    };
    let (outcomes, ()) = tokio::join!(published, create);
    assert_eq!(outcomes, vec![Outcome::Delivered; 3]);
}

#[tokio::test]
async fn topics_are_created_if_that_is_asked_for() {
    let url = shared!();
    let topic = broker::new_name();
    let publisher = connect(&format!("{url}?create_topics=true&partitions=2")).await;
    assert_eq!(publish(&publisher, &messages(&topic, 3)).await, vec![Outcome::Delivered; 3]);
    assert_eq!(consumer::partitions(&servers(&url), &topic).await, 2);
    let publisher = connect(&format!("{url}?create_topics=true&replication=3")).await;
    let outcomes = publish(&publisher, &messages(&broker::new_name(), 1)).await;
    let Outcome::Unavailable(reason) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().contains("could not be created"), "{reason}");
}

#[tokio::test]
async fn a_topic_that_is_deleted_is_rejected_in_the_end() {
    let url = shared!();
    let topic = new_topic(&servers(&url), &[]).await;
    let publisher = connect(&url).await;
    assert_eq!(publish(&publisher, &messages(&topic, 1)).await, [Outcome::Delivered]);
    broker::delete_topic(&servers(&url), &topic).await;
    for _ in 0..20 {
        let batch = messages(&topic, 1);
        match &publish_within(&publisher, &batch, Duration::from_secs(5)).await[0] {
            Outcome::Rejected(reason) => {
                return assert!(reason.as_str().contains("does not exist"), "{reason}");
            }
            Outcome::Delivered => panic!("it is delivered to nowhere"),
            _ => {}
        }
    }
    panic!("it is never rejected");
}

#[tokio::test]
async fn what_has_no_place_to_go_to_is_rejected() {
    let url = shared!();
    let mut config: KafkaConfig = url.parse().unwrap();
    config.destination =
        serde_json::from_str(r#"{"orders": "no topic", "payments": "."}"#).unwrap();
    let publisher = KafkaPublisher::connect(config).await.unwrap();
    let batch = ["refunds", "orders", "payments"].map(|topic| message(topic, "k", 1));
    let mut taken = batch[0].parts().clone();
    taken.headers = vec![("Outbox-Id".to_owned(), "mine".to_owned())];
    let batch = [batch.to_vec(), vec![Message::restore(taken)]].concat();
    let outcomes = publish(&publisher, &batch).await;
    assert_eq!(rejected(&outcomes[0]), "the topic `refunds` has no destination");
    assert!(rejected(&outcomes[1]).starts_with("`no topic` can't be the name of a Kafka topic"));
    assert!(rejected(&outcomes[2]).starts_with("`.` can't be the name of a Kafka topic"));
    assert!(rejected(&outcomes[3]).contains("reserved"));
}
