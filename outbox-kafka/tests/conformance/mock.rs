//! Errors that a real broker can't be made to give, from a cluster that librdkafka plays itself.

use std::time::Duration;

use outbox_core::{Outcome, Publisher};
use outbox_kafka::KafkaPublisher;
use rdkafka::client::ClientContext;
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Error};

use crate::broker::PATIENCE;
use crate::publishing::{connect, messages, publish, publish_within};

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Failed(_) => "failed",
        Outcome::Rejected(_) => "rejected",
        Outcome::Throttled(_) => "throttled",
        Outcome::Unavailable(_) => "unavailable",
        Outcome::Fenced(_) => "fenced",
        Outcome::Unknown => "unknown",
    }
}

async fn connect_to<C: ClientContext>(
    cluster: &MockCluster<'_, C>,
    options: &str,
) -> KafkaPublisher {
    connect(&format!("kafka://{}{options}", cluster.bootstrap_servers())).await
}

/// FAILURES row 45 among them: an answer out of sequence is fatal to a producer. Seen to cost the
/// next call, too, while such a producer was kept.
#[tokio::test]
async fn every_answer_has_its_outcome_and_the_next_call_goes_on() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    let publisher = connect_to(&cluster, "").await;
    for (error, expected) in [
        (Error::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "unknown"),
        (Error::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, "unknown"),
        (Error::RD_KAFKA_RESP_ERR_INVALID_RECORD, "rejected"),
        (Error::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, "rejected"),
        (Error::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "rejected"),
        (Error::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED, "throttled"),
        (Error::RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED, "unavailable"),
        (Error::RD_KAFKA_RESP_ERR_UNSUPPORTED_COMPRESSION_TYPE, "unavailable"),
        (Error::RD_KAFKA_RESP_ERR_INVALID_REQUIRED_ACKS, "failed"),
        // librdkafka tries these again itself, under the same sequence number.
        (Error::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION, "delivered"),
        (Error::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, "delivered"),
        (Error::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS_AFTER_APPEND, "delivered"),
        (Error::RD_KAFKA_RESP_ERR_REQUEST_TIMED_OUT, "delivered"),
    ] {
        cluster.request_errors(RDKafkaApiKey::Produce, &[error]);
        let outcomes = publish(&publisher, &messages("orders", 1)).await;
        assert_eq!(kind(&outcomes[0]), expected, "{error:?}: {outcomes:?}");
        let outcomes = publish(&publisher, &messages("orders", 5)).await;
        assert_eq!(outcomes, vec![Outcome::Delivered; 5], "after {error:?}");
    }
}

#[tokio::test]
async fn too_few_replicas_are_unavailable_at_the_deadline() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    let publisher = connect_to(&cluster, "").await;
    let errors = [Error::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 1000];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    let outcomes = publish_within(&publisher, &messages("orders", 2), Duration::from_secs(1)).await;
    assert!(outcomes.iter().all(|outcome| kind(outcome) == "unavailable"), "{outcomes:?}");
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    let outcomes = publish(&publisher, &messages("orders", 2)).await;
    assert_eq!(outcomes, vec![Outcome::Delivered; 2]);
    assert_eq!(publisher.check().await, Ok(()));
}

/// The others are not stopped by it, and don't lose a producer or a transaction to it each time.
#[tokio::test]
async fn a_topic_without_a_right_to_it_fails_alone_and_for_a_while() {
    const REFUSED: Error = Error::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED;
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["orders", "unseen", "unwritable"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    cluster.topic_error("unseen", REFUSED).unwrap();
    let publisher = connect_to(&cluster, "").await;
    let kinds = |outcomes: &[Outcome]| outcomes.iter().map(kind).collect::<Vec<_>>();
    let batch = [messages("unseen", 1), messages("orders", 1)].concat();
    let outcomes = publish(&publisher, &batch).await;
    assert_eq!(kinds(&outcomes), ["failed", "delivered"], "{outcomes:?}");
    // One that may be looked at, but not written to.
    let alone = messages("unwritable", 1);
    cluster.request_errors(RDKafkaApiKey::Produce, &[REFUSED]);
    assert_eq!(kinds(&publish(&publisher, &alone).await), ["failed"]);
    let batch = [alone.clone(), messages("orders", 1)].concat();
    let outcomes = publish(&publisher, &batch).await;
    assert_eq!(kinds(&outcomes), ["failed", "delivered"], "it is not tried: {outcomes:?}");
    let granted = async {
        while publish(&publisher, &alone).await != [Outcome::Delivered] {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, granted).await.expect("it is tried again");
}

/// The answer to one of two requests names nobody, and the other keeps the call until its end.
#[tokio::test]
async fn not_all_suspects_are_blamed_when_time_is_up() {
    let cluster = MockCluster::new(1).unwrap();
    for topic in ["orders", "payments"] {
        cluster.create_topic(topic, 1, 1).unwrap();
    }
    let publisher = connect_to(&cluster, "?linger_ms=200").await;
    let batch = [messages("orders", 4), messages("payments", 4)].concat();
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 8]);
    let mut errors = vec![Error::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 1000];
    errors[0] = Error::RD_KAFKA_RESP_ERR_INVALID_RECORD;
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    let outcomes = publish_within(&publisher, &batch, Duration::from_secs(3)).await;
    let count = |name| outcomes.iter().filter(|outcome| kind(outcome) == name).count();
    let counts = ["failed", "throttled", "unavailable"].map(count);
    assert_eq!(counts, [2, 2, 4], "{outcomes:?}");
}
