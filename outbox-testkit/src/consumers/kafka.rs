//! Kafka topics.

use std::net::SocketAddr;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::Consumer;

/// A broker at that address. A topic that isn't there is refused.
#[derive(Debug)]
pub struct Kafka(pub SocketAddr);

const PARTITIONS: i32 = 3;

const PATIENCE: Duration = Duration::from_secs(30);

#[async_trait]
impl Consumer for Kafka {
    async fn create(&self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", self.0.to_string()).create().unwrap();
        let topic = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let created = admin.create_topics([&topic], &options).await.unwrap();
        assert!(created[0].is_ok(), "{created:?}");
    }

    async fn arrived(&self, topic: &str) -> Vec<Uuid> {
        let (servers, topic) = (self.0.to_string(), topic.to_owned());
        tokio::task::spawn_blocking(move || read(&servers, &topic)).await.unwrap()
    }
}

/// What is committed, to the end of each partition.
fn read(servers: &str, topic: &str) -> Vec<Uuid> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", servers).set("group.id", topic);
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.create().unwrap();
    let mut partitions = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        partitions.add_partition_offset(topic, partition, Offset::Beginning).unwrap();
    }
    consumer.assign(&partitions).unwrap();
    let (mut arrived, mut ends) = (Vec::new(), 0);
    while ends < PARTITIONS {
        match consumer.poll(PATIENCE).expect("it goes on") {
            Ok(record) => {
                let mut headers = record.headers().unwrap().iter();
                let id = headers.find(|header| header.key == "outbox-id").unwrap().value.unwrap();
                arrived.push(std::str::from_utf8(id).unwrap().parse().unwrap());
            }
            Err(KafkaError::PartitionEOF(_)) => ends += 1,
            Err(error) => panic!("{error}"),
        }
    }
    arrived
}
