//! A consumer of its own, which knows nothing of the adapter.

use std::collections::HashSet;
use std::time::{Duration, Instant, UNIX_EPOCH};

use outbox_core::{Message, MessageParts};
use rdkafka::Message as _;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, OwnedMessage};
use rdkafka::metadata::MetadataPartition;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::broker::PATIENCE;

/// All that is committed in a topic, each partition in its order.
pub(crate) async fn read(servers: &str, topic: &str) -> Vec<Message> {
    records(servers, topic).await.iter().map(message).collect()
}

/// The same as Kafka has it.
pub(crate) async fn records(servers: &str, topic: &str) -> Vec<OwnedMessage> {
    let (servers, topic) = (servers.to_owned(), topic.to_owned());
    tokio::task::spawn_blocking(move || read_all(&servers, &topic)).await.unwrap()
}

/// Names and values in their order.
pub(crate) fn headers(record: &OwnedMessage) -> Vec<(&str, &str)> {
    let headers = record.headers().unwrap().iter();
    headers.map(|header| (header.key, str::from_utf8(header.value.unwrap()).unwrap())).collect()
}

pub(crate) async fn partitions(servers: &str, topic: &str) -> usize {
    let (servers, topic) = (servers.to_owned(), topic.to_owned());
    let count = move || {
        let mut client = ClientConfig::new();
        let client: BaseConsumer = client.set("bootstrap.servers", servers).create().unwrap();
        client.fetch_metadata(Some(&topic), PATIENCE).unwrap().topics()[0].partitions().len()
    };
    tokio::task::spawn_blocking(count).await.unwrap()
}

fn read_all(servers: &str, topic: &str) -> Vec<OwnedMessage> {
    let everything = consumer(servers, "read_uncommitted");
    let consumer = consumer(servers, "read_committed");
    let by = Instant::now() + PATIENCE;
    let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).unwrap();
    let partitions = metadata.topics()[0].partitions().iter();
    let mut open: HashSet<_> = partitions.map(MetadataPartition::id).collect();
    assert!(!open.is_empty(), "there is no topic {topic}");
    let mut partitions = TopicPartitionList::new();
    for partition in &open {
        partitions.add_partition_offset(topic, *partition, Offset::Beginning).unwrap();
        // A commit is answered before it is marked in all partitions.
        let ends = |of: &BaseConsumer| of.fetch_watermarks(topic, *partition, PATIENCE).unwrap().1;
        let written = ends(&everything);
        while ends(&consumer) < written {
            assert!(Instant::now() < by, "a transaction is open in {topic}");
        }
    }
    consumer.assign(&partitions).unwrap();
    let mut records = Vec::new();
    while !open.is_empty() {
        assert!(Instant::now() < by, "the end of {topic} was not reached");
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(record)) => records.push(record.detach()),
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                open.remove(&partition);
            }
            Some(Err(error)) => panic!("{error}"),
            None => {}
        }
    }
    records
}

fn consumer(servers: &str, isolation: &str) -> BaseConsumer {
    let mut options = ClientConfig::new();
    options.set("bootstrap.servers", servers).set("group.id", "test");
    options.set("enable.auto.commit", "false").set("enable.partition.eof", "true");
    options.set("isolation.level", isolation).set("fetch.wait.max.ms", "10");
    options.create().unwrap()
}

fn message(record: &OwnedMessage) -> Message {
    let headers = headers(record);
    let one = |name: &str| {
        let mut values = headers.iter().filter(|(other, _)| *other == name);
        let value = values.next().map(|(_, value)| *value);
        assert!(values.next().is_none(), "there are several {name}");
        value
    };
    let micros = one("outbox-created-at").unwrap().parse().unwrap();
    let theirs = headers.iter().filter(|(name, _)| !name.starts_with("outbox-"));
    Message::restore(MessageParts {
        id: one("outbox-id").unwrap().parse().unwrap(),
        topic: record.topic().into(),
        key: record.key().map(|key| str::from_utf8(key).unwrap().into()),
        message_type: one("outbox-type").map(Into::into),
        content_type: one("outbox-content-type").unwrap().into(),
        payload: record.payload().unwrap().to_vec().into(),
        headers: theirs.map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect(),
        created_at: UNIX_EPOCH + Duration::from_micros(micros),
    })
}
