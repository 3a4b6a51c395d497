//! The tail.

use std::time::{Duration, UNIX_EPOCH};

use outbox_core::broker::Tail;
use outbox_core::{Message, Outcome};
use outbox_kafka::KafkaTail;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use crate::broker::{PATIENCE, new_topic, servers, shared};
use crate::publishing::{connect, messages, publish};

#[tokio::test]
async fn it_shows_what_arrives_after_it_was_made() {
    let url = shared();
    let topic = new_topic(&servers(&url), &[]).await;
    let publisher = connect(&url).await;
    assert_eq!(publish(&publisher, &messages(&topic, 3)).await, vec![Outcome::Delivered; 3]);
    let mut tail = KafkaTail::connect(url.parse().unwrap(), &topic).await.unwrap();
    let sent = Message::json(topic.as_str(), &[1, 2])
        .key("k")
        .message_type("t")
        .header("same", "1")
        .header("same", "2")
        .created_at(UNIX_EPOCH + Duration::from_micros(1_750_946_400_123_456))
        .build()
        .unwrap();
    assert_eq!(publish(&publisher, std::slice::from_ref(&sent)).await, [Outcome::Delivered]);
    let read = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap().unwrap();
    assert!(read == sent, "{read:?}");
    // What another program has written is shown as far as it goes.
    let other: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", servers(&url)).create().unwrap();
    other.send(BaseRecord::<str, [u8]>::to(&topic).payload(&[0xff, 0][..])).unwrap();
    other.flush(PATIENCE).unwrap();
    let read = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap().unwrap();
    assert_eq!((read.payload().as_ref(), read.key()), ([0xff, 0].as_slice(), None));
    assert_eq!(read.content_type(), "application/octet-stream");
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_named() {
    let url = shared();
    let error = KafkaTail::connect(url.parse().unwrap(), "no-such").await.unwrap_err();
    assert_eq!(error.to_string(), "the Kafka topic `no-such` does not exist");
}
