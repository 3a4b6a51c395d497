//! The publisher suite on Kafka, and what is particular to Kafka.

mod auth;
mod broker;
mod calls;
mod consumer;
mod dead;
mod faults;
mod mock;
mod publishing;
mod records;
mod server;
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

/// A topic of three partitions on the shared broker.
struct Kafka {
    url: String,
    topic: String,
}

#[async_trait]
impl PublisherHarness for Kafka {
    async fn open() -> Self {
        let url = broker::shared();
        let topic = broker::new_topic(&broker::servers(&url), &[]).await;
        Self { url, topic }
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        let config: KafkaConfig = self.url.parse().unwrap();
        Arc::new(KafkaPublisher::connect(config).await.unwrap())
    }

    fn topic(&self) -> String {
        self.topic.clone()
    }

    async fn arrived(&self) -> Vec<Message> {
        consumer::read(&broker::servers(&self.url), &self.topic).await
    }

    fn ordering_proved_by(&self) -> Option<&'static str> {
        Some("transactions::without_them_a_message_is_accepted_though_one_before_it_is_not")
    }

    fn too_large(&self) -> Option<usize> {
        Some(1024 * 1024)
    }

    async fn close(self: Box<Self>) {
        broker::delete_topic(&broker::servers(&self.url), &self.topic).await;
    }
}

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

    fn ordering_proved_by(&self) -> Option<&'static str> {
        Some("transactions::what_follows_a_refused_message_is_not_there")
    }

    fn too_large(&self) -> Option<usize> {
        self.0.too_large()
    }

    async fn close(self: Box<Self>) {
        Box::new(self.0).close().await;
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
