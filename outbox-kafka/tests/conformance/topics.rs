//! Topics that there are, and those that there are not.

use std::time::Duration;

use outbox_core::{Message, Outcome};
use outbox_kafka::{KafkaConfig, KafkaPublisher};

use crate::broker::{self, PATIENCE, new_topic, servers, shared};
use crate::consumer;
use crate::publishing::{connect, message, messages, publish, publish_within, rejected};

/// FAILURES row 47. Seen to fail like any other, attempt after attempt, while topics weren't looked
/// up before their first message.
#[tokio::test]
async fn an_unknown_topic_is_rejected_and_others_are_not_affected() {
    let url = shared();
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
    let delivered = async {
        // The broker may not have heard of it yet.
        while publish(&publisher, &batch).await != vec![Outcome::Delivered; 3] {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, delivered).await.expect("it is looked up again");
}

/// FAILURES row 47: the client asks before the topic is there. Seen to fail without that look, too.
#[tokio::test]
async fn a_topic_created_at_once_is_waited_for() {
    let url = shared();
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
    let url = shared();
    let topic = broker::new_name();
    let publisher = connect(&format!("{url}?create_topics=true&partitions=2")).await;
    assert_eq!(publish(&publisher, &messages(&topic, 3)).await, vec![Outcome::Delivered; 3]);
    assert_eq!(consumer::partitions(&servers(&url), &topic).await, 2);
}

/// The fault of one topic, and no reason for others to rest.
#[tokio::test]
async fn a_topic_whose_creation_is_refused_fails_alone() {
    let url = shared();
    let topic = new_topic(&servers(&url), &[]).await;
    let publisher = connect(&format!("{url}?create_topics=true&replication=3")).await;
    let batch = [message(&topic, "a", 1), message(&broker::new_name(), "a", 1)];
    for _ in 0..2 {
        let outcomes = publish(&publisher, &batch).await;
        assert_eq!(outcomes[0], Outcome::Delivered);
        let Outcome::Failed(reason) = &outcomes[1] else { panic!("{outcomes:?}") };
        assert!(reason.as_str().contains("could not be created"), "{reason}");
    }
}

/// FAILURES row 47: a broker hears of a new topic only after it was created, and the patience for
/// it may be over. Seen to be rejected: dead letters, though the topic was there.
#[tokio::test]
async fn messages_of_a_topic_that_was_just_created_are_never_rejected() {
    let url = shared();
    let options = "create_topics=true&topic_wait_ms=0&partitions=50";
    let publisher = connect(&format!("{url}?{options}")).await;
    for _ in 0..5 {
        let batch = messages(&broker::new_name(), 1);
        let mut tries = 0;
        while publish(&publisher, &batch).await != [Outcome::Delivered] {
            let outcomes = publish(&publisher, &batch).await;
            assert!(!matches!(outcomes[0], Outcome::Rejected(_)), "{outcomes:?}");
            tries += 1;
            assert!(tries < 100, "{outcomes:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        broker::delete_topic(&servers(&url), batch[0].topic()).await;
    }
}

/// FAILURES row 47: librdkafka waits for it to come back, and with transactions says nothing of it:
/// that costs one call. Seen to cost 30 seconds, and with transactions each call, as it was never
/// looked up again.
#[tokio::test]
async fn a_topic_that_is_deleted_is_rejected_in_the_end_and_others_go_on() {
    let url = shared();
    for options in ["", "?transactional_id=deleted"] {
        let topic = new_topic(&servers(&url), &[]).await;
        let other = new_topic(&servers(&url), &[]).await;
        let publisher = connect(&format!("{url}{options}")).await;
        assert_eq!(publish(&publisher, &messages(&topic, 1)).await, [Outcome::Delivered]);
        broker::delete_topic(&servers(&url), &topic).await;
        let batch = [message(&topic, "a", 1), message(&other, "b", 1)];
        let mut calls = Vec::new();
        for _ in 0..3 {
            calls.push(publish_within(&publisher, &batch, Duration::from_secs(5)).await);
        }
        assert!(calls.iter().all(|outcomes| outcomes[0] != Outcome::Delivered), "to nowhere");
        for outcomes in &calls[usize::from(!options.is_empty())..] {
            assert_eq!(outcomes[1], Outcome::Delivered, "{options}: {calls:?}");
        }
        assert!(rejected(&calls[2][0]).contains("does not exist"), "{calls:?}");
    }
}

#[tokio::test]
async fn what_has_no_place_to_go_to_is_rejected() {
    let url = shared();
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
