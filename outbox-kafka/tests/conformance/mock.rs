//! Errors that a real broker can't be made to give, from a cluster that librdkafka plays itself.

use std::time::Duration;

use outbox_core::{Outcome, Publisher};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr as Error};

use crate::publishing::{connect, messages, publish, publish_within};

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Failed(_) => "failed",
        Outcome::Rejected(_) => "rejected",
        Outcome::Throttled(_) => "throttled",
        Outcome::Unavailable(_) => "unavailable",
        Outcome::Unknown => "unknown",
    }
}

/// Row 45 among them: an answer out of sequence is fatal to a producer.
#[tokio::test]
async fn every_answer_has_its_outcome_and_the_next_call_goes_on() {
    let cluster = MockCluster::new(1).unwrap();
    cluster.create_topic("orders", 1, 1).unwrap();
    let publisher = connect(&format!("kafka://{}", cluster.bootstrap_servers())).await;
    for (error, expected) in [
        (Error::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER, "unknown"),
        (Error::RD_KAFKA_RESP_ERR_INVALID_PRODUCER_EPOCH, "unknown"),
        (Error::RD_KAFKA_RESP_ERR_INVALID_RECORD, "rejected"),
        (Error::RD_KAFKA_RESP_ERR_POLICY_VIOLATION, "rejected"),
        (Error::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, "rejected"),
        (Error::RD_KAFKA_RESP_ERR_THROTTLING_QUOTA_EXCEEDED, "throttled"),
        (Error::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, "unavailable"),
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
    let publisher = connect(&format!("kafka://{}", cluster.bootstrap_servers())).await;
    let errors = [Error::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS; 1000];
    cluster.request_errors(RDKafkaApiKey::Produce, &errors);
    let outcomes = publish_within(&publisher, &messages("orders", 2), Duration::from_secs(1)).await;
    assert!(outcomes.iter().all(|outcome| kind(outcome) == "unavailable"), "{outcomes:?}");
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    let outcomes = publish(&publisher, &messages("orders", 2)).await;
    assert_eq!(outcomes, vec![Outcome::Delivered; 2]);
    assert_eq!(publisher.check().await, Ok(()));
}
