//! The publisher suite on a real server, and what is particular to Redis.

mod cluster;
mod consumer;
mod faults;
mod order;
mod replicas;
mod security;
mod server;
mod streams;
mod unsent;

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Message, Publisher};
use outbox_redis::RedisPublisher;
use outbox_testkit::suite::publisher::PublisherHarness;

use consumer::Stream;

/// A stream of its own on the shared server.
struct OnShared(Stream);

#[async_trait]
impl PublisherHarness for OnShared {
    async fn open() -> Result<Self, String> {
        let url = std::env::var("OUTBOX_TEST_REDIS").map_err(|_| "OUTBOX_TEST_REDIS is not set")?;
        Stream::on(&url).await.map(Self)
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::new(RedisPublisher::connect(self.0.config()).await.unwrap())
    }

    fn topic(&self) -> String {
        self.0.name.clone()
    }

    async fn arrived(&self) -> Vec<Message> {
        self.0.arrived().await
    }

    async fn close(self: Box<Self>) {
        self.0.delete().await;
    }
}

mod suite {
    use super::*;
    outbox_testkit::publisher_suite!(OnShared);
}
