//! A relay whose broker goes away.

use std::collections::BTreeSet;
use std::time::Duration;

use outbox_testkit::servers;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::{Offset, TopicPartitionList};

use crate::program::{Bed, Running, lines, outbox, status, wait_until};

const PATIENCE: Duration = Duration::from_mins(2);

/// More than are relayed between two looks at how many are left.
const MESSAGES: u32 = 20_000;

/// FAILURES row 48. Kafka stands still while messages are on their way, the relay is told to stop,
/// and Kafka crashes: what it has not confirmed is still there, for the relay that is started when
/// it runs again. Seen to fail when what librdkafka was handed counts as delivered.
#[tokio::test]
async fn a_relay_that_is_stopped_while_kafka_stands_still_loses_nothing() {
    let mut server = servers::kafka().await;
    let broker = format!("{}?create_topics=true", server.url());
    let bed = Bed::new();
    bed.enqueue(&lines(MESSAGES, 50)).done();
    let relay = ["relay", "--store", &bed.store, "--broker", &broker];
    let times = ["--lease=4s", "--publish-timeout=2s", "--stop-timeout=30s", "--window=100"];
    let mut first = Running::start(&[&relay[..], &times].concat());
    wait_until(PATIENCE, || bed.depth() < u64::from(MESSAGES)).await;
    server.pause();
    let left = bed.depth();
    assert!(left > 0, "it was quicker than this test");

    first.terminate();
    assert_eq!(first.ended(PATIENCE).await, 0, "it finishes within the time to stop");
    let status = status(&bed.store);
    assert!(status["depth"].as_u64() > Some(0), "{status}");
    assert_eq!((&status["dead"], &status["relays"]), (&0.into(), &0.into()), "{status}");
    server.kill();
    server.start_again().await;

    outbox(&[&relay[..], &["--drain"]].concat()).done();
    let servers = server.address().to_string();
    let arrived = tokio::task::spawn_blocking(move || read(&servers, "t")).await.unwrap();
    assert_eq!(arrived.len(), MESSAGES as usize, "the others are lost");
    assert!(arrived.into_iter().eq(0..MESSAGES));
}

/// The numbers that are the payloads of a topic of one partition.
fn read(servers: &str, topic: &str) -> BTreeSet<u32> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", "test");
    config.set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    assert_eq!(metadata.topics()[0].partitions().len(), 1);
    let mut partitions = TopicPartitionList::new();
    partitions.add_partition_offset(topic, 0, Offset::Beginning).unwrap();
    consumer.assign(&partitions).unwrap();
    let mut numbers = BTreeSet::new();
    loop {
        match consumer.poll(PATIENCE).expect("it goes on") {
            Ok(record) => {
                let payload = std::str::from_utf8(record.payload().unwrap()).unwrap();
                numbers.insert(payload.parse().unwrap());
            }
            Err(KafkaError::PartitionEOF(_)) => return numbers,
            Err(error) => panic!("{error}"),
        }
    }
}
