//! Brokers by their own clients: destinations are made and read without any adapter of ours.
//!
//! What they can't do fails the test that asks for it.

mod kafka;
mod nats;
mod rabbitmq;
mod redis;
mod sqs;

use async_trait::async_trait;
use uuid::Uuid;

pub use kafka::Kafka;
pub use nats::Nats;
pub use rabbitmq::RabbitMq;
pub use redis::Redis;
pub use sqs::Sqs;

/// Reads what a broker has accepted.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// Makes the empty destination for a topic.
    ///
    /// # Panics
    /// If the broker doesn't make it.
    async fn create(&self, topic: &str);

    /// Sees to it that the broker refuses what is sent to a topic, for which there is no
    /// destination yet.
    ///
    /// # Panics
    /// If the broker fails.
    async fn refuse(&self, topic: &str) {
        let _ = topic;
    }

    /// What was [refused](Self::refuse) is accepted from now on.
    ///
    /// # Panics
    /// If the broker fails.
    async fn admit(&self, topic: &str) {
        self.create(topic).await;
    }

    /// The ids of all that has arrived, those of a key in their order. It may be asked once: some
    /// brokers forget what they have handed out.
    ///
    /// # Panics
    /// If the broker fails.
    async fn arrived(&self, topic: &str) -> Vec<Uuid>;
}
