//! Kafka, with single messages and with a transaction for each batch.

use std::time::Duration;

use outbox_testkit::servers::{self, Server};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers as _, Message as _};
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use super::{Broker, Target, from_every_store};

struct Kafka {
    server: Server,
    options: &'static str,
}

const PARTITIONS: i32 = 3;

const PATIENCE: Duration = Duration::from_secs(30);

impl Broker for Kafka {
    async fn target(&self) -> Target {
        let (servers, name) = (self.server.address().to_string(), Uuid::now_v7().to_string());
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &servers).create().unwrap();
        let topic = NewTopic::new(&name, PARTITIONS, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let created = admin.create_topics([&topic], &options).await.unwrap();
        assert!(created[0].is_ok(), "{created:?}");
        Target { url: format!("{}{}", self.server.url(), self.options), topic: name }
    }

    async fn restart(&mut self) {
        self.server.restart().await;
    }

    async fn arrived(&self, target: &Target) -> Vec<Uuid> {
        let (servers, name) = (self.server.address().to_string(), target.topic.clone());
        tokio::task::spawn_blocking(move || read(&servers, &name)).await.unwrap()
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

#[tokio::test(flavor = "multi_thread")]
async fn kafka_from_every_store() {
    Box::pin(from_every_store(Kafka { server: servers::kafka().await, options: "" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_transactions_from_every_store() {
    let options = "?transactional_id=outbox&transaction_timeout_ms=10000";
    Box::pin(from_every_store(Kafka { server: servers::kafka().await, options })).await;
}
