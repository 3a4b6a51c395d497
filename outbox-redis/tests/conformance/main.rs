//! The publisher suite on a real server, and what is particular to Redis.

mod cluster;
mod consumer;
mod faults;
mod limits;
mod order;
mod replicas;
mod security;
mod streams;
mod unsent;

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Message, Publisher};
use outbox_redis::{RedisConfig, RedisPublisher};
use outbox_testkit::servers::shared;
use outbox_testkit::suite::publisher::PublisherHarness;

use consumer::Stream;

/// A stream of its own on the shared server, and a key in the place of another.
struct OnShared(Stream);

impl OnShared {
    fn other(&self) -> Stream {
        Stream { name: format!("other-{}", self.0.name), ..self.0.clone() }
    }
}

/// So that it needn't be as large as what Redis never takes.
const LIMIT: usize = 1024 * 1024 + 1024;

#[async_trait]
impl PublisherHarness for OnShared {
    async fn open() -> Self {
        Self(Stream::on(&shared("OUTBOX_TEST_REDIS")).await)
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        let config = RedisConfig { max_message_bytes: LIMIT, ..self.0.config() };
        Arc::new(RedisPublisher::connect(config).await.unwrap())
    }

    fn topic(&self) -> String {
        self.0.name.clone()
    }

    async fn arrived(&self) -> Vec<Message> {
        let mut arrived = self.0.arrived().await;
        if self.0.command::<String>(&["TYPE", &self.other().name]).await == "stream" {
            arrived.extend(self.other().arrived().await);
        }
        arrived
    }

    async fn refuse(&self) -> Option<String> {
        let other = self.other().name;
        self.0.command::<()>(&["SET", &other, "no stream"]).await;
        Some(other)
    }

    async fn accept(&self) {
        self.other().delete().await;
    }

    fn too_large(&self) -> Option<usize> {
        Some(LIMIT)
    }

    async fn close(self: Box<Self>) {
        self.0.delete().await;
        self.other().delete().await;
    }
}

mod suite {
    use super::*;
    outbox_testkit::publisher_suite!(OnShared);
}
