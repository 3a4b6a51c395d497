//! The publisher suite on real servers, and what is particular to NATS: all of it on the oldest
//! version that we support, and on the newest.

#![allow(clippy::duplicate_mod, reason = "the same tests run on both versions")]

mod consumer;
mod fencing;
mod fencing_refused;
mod newest;
mod oldest;
mod publishing;
mod replicated;
mod standstill;

use std::sync::Arc;

use async_nats::jetstream::stream::Config;
use async_trait::async_trait;
use outbox_core::{Message, Publisher};
use outbox_nats::NatsPublisher;
use outbox_testkit::servers::shared;
use outbox_testkit::suite::publisher::PublisherHarness;
use tokio::sync::OnceCell;

use consumer::Stream;
use publishing::fenced;

/// A stream of its own on one of the shared servers, and one that can refuse what it gets.
struct OnShared<const NEWEST: bool, const FENCED: bool = false> {
    url: String,
    stream: Stream,
    other: OnceCell<Stream>,
}

#[async_trait]
impl<const NEWEST: bool, const FENCED: bool> PublisherHarness for OnShared<NEWEST, FENCED> {
    async fn open() -> Self {
        let variable = if NEWEST { "OUTBOX_TEST_NATS_NEWEST" } else { "OUTBOX_TEST_NATS" };
        let url = shared(variable);
        let stream = Stream::create(&url).await;
        Self { url, stream, other: OnceCell::new() }
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        let config = if FENCED { fenced(&self.stream) } else { self.stream.config() };
        Arc::new(NatsPublisher::connect(config).await.unwrap())
    }

    fn topic(&self) -> String {
        self.stream.subject.clone()
    }

    async fn arrived(&self) -> Vec<Message> {
        let mut arrived = self.stream.arrived().await;
        if let Some(other) = self.other.get() {
            arrived.extend(other.arrived().await);
        }
        arrived
    }

    async fn refuse(&self) -> Option<String> {
        let config = Config { max_message_size: 1, ..Config::default() };
        let other = self.other.get_or_init(|| Stream::create_as(&self.url, config)).await;
        Some(other.subject.clone())
    }

    async fn accept(&self) {
        if let Some(other) = self.other.get() {
            other.update(|config| config.max_message_size = -1).await;
        }
    }

    fn too_large(&self) -> Option<usize> {
        Some(1024 * 1024)
    }

    async fn close(self: Box<Self>) {
        self.stream.delete().await;
        if let Some(other) = self.other.get() {
            other.delete().await;
        }
    }
}

mod fenced_suite {
    use super::*;
    outbox_testkit::publisher_suite!(OnShared<true, true>);
}
