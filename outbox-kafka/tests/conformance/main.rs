//! The publisher suite on Kafka, and what is particular to Kafka.

mod auth;
mod broker;
mod calls;
mod consumer;
mod dead;
mod faults;
mod fence_faults;
mod fencing;
mod mock;
mod publishing;
mod records;
mod server;
mod standstill;
mod stuck;
mod swallow;
mod tail;
mod topics;
mod transactions;

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Message, Publisher};
use outbox_kafka::{KafkaConfig, KafkaPublisher};
use outbox_testkit::suite::publisher::PublisherHarness;
use tokio::sync::OnceCell;

/// A topic of three partitions on the shared broker, and one that can refuse what it gets.
struct Kafka {
    url: String,
    topic: String,
    other: OnceCell<String>,
}

#[async_trait]
impl PublisherHarness for Kafka {
    async fn open() -> Self {
        let url = broker::shared();
        let topic = broker::new_topic(&broker::servers(&url), &[]).await;
        Self { url, topic, other: OnceCell::new() }
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        let config: KafkaConfig = self.url.parse().unwrap();
        Arc::new(KafkaPublisher::connect(config).await.unwrap())
    }

    fn topic(&self) -> String {
        self.topic.clone()
    }

    async fn arrived(&self) -> Vec<Message> {
        let servers = broker::servers(&self.url);
        let mut arrived = consumer::read(&servers, &self.topic).await;
        if let Some(other) = self.other.get() {
            arrived.extend(consumer::read(&servers, other).await);
        }
        arrived
    }

    async fn refuse(&self) -> Option<String> {
        let servers = broker::servers(&self.url);
        // No message fits, though the mark does that ends a transaction which is given up.
        let small = [(MOST, "100")];
        let new = broker::new_topic(&servers, &small);
        Some(self.other.get_or_init(|| new).await.clone())
    }

    async fn accept(&self) {
        let Some(other) = self.other.get() else { return };
        broker::alter_topic(&broker::servers(&self.url), other, MOST, "1048588").await;
        // It is so when every partition has heard of it.
        let publisher = publishing::connect(&self.url).await;
        faults::deliver(&publisher, &publishing::messages(other, 20)).await;
    }

    fn too_large(&self) -> Option<usize> {
        Some(1024 * 1024)
    }

    async fn close(self: Box<Self>) {
        let servers = broker::servers(&self.url);
        broker::delete_topic(&servers, &self.topic).await;
        if let Some(other) = self.other.get() {
            broker::delete_topic(&servers, other).await;
        }
    }
}

/// The option of a topic that says how many bytes a request may have for a partition.
const MOST: &str = "max.message.bytes";

/// The same with one transaction per batch.
struct Transactional(Kafka);

#[async_trait]
impl PublisherHarness for Transactional {
    async fn open() -> Self {
        Self(Kafka::open().await)
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        let url = format!("{}?transactional_id=outbox-test", self.0.url);
        Arc::new(KafkaPublisher::connect(url.parse().unwrap()).await.unwrap())
    }

    fn topic(&self) -> String {
        self.0.topic()
    }

    async fn arrived(&self) -> Vec<Message> {
        self.0.arrived().await
    }

    async fn refuse(&self) -> Option<String> {
        self.0.refuse().await
    }

    async fn accept(&self) {
        self.0.accept().await;
    }

    fn too_large(&self) -> Option<usize> {
        self.0.too_large()
    }

    async fn close(self: Box<Self>) {
        Box::new(self.0).close().await;
    }
}

/// The same with a fence.
struct Fenced {
    kafka: Kafka,
    fence: String,
}

#[async_trait]
impl PublisherHarness for Fenced {
    async fn open() -> Self {
        let kafka = Kafka::open().await;
        let fence = broker::new_topic(&broker::servers(&kafka.url), &[]).await;
        Self { kafka, fence }
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        let url = format!("{}?fence={}", self.kafka.url, self.fence);
        Arc::new(KafkaPublisher::connect(url.parse().unwrap()).await.unwrap())
    }

    fn topic(&self) -> String {
        self.kafka.topic()
    }

    async fn arrived(&self) -> Vec<Message> {
        self.kafka.arrived().await
    }

    async fn refuse(&self) -> Option<String> {
        self.kafka.refuse().await
    }

    async fn accept(&self) {
        self.kafka.accept().await;
    }

    fn too_large(&self) -> Option<usize> {
        self.kafka.too_large()
    }

    async fn close(self: Box<Self>) {
        broker::delete_topic(&broker::servers(&self.kafka.url), &self.fence).await;
        Box::new(self.kafka).close().await;
    }
}

mod suite {
    use super::*;
    outbox_testkit::publisher_suite!(Kafka);
}

mod transactional_suite {
    use super::*;
    outbox_testkit::publisher_suite!(Transactional);
}

mod fenced_suite {
    use super::*;
    outbox_testkit::publisher_suite!(Fenced);
}
