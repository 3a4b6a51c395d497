//! The publisher suite on real servers, the oldest and the newest that we support, and what is
//! particular to NATS.

mod consumer;
mod faults;
mod nats;
mod security;
mod server;

use async_trait::async_trait;
use std::sync::Arc;

use outbox_core::{Message, Publisher};
use outbox_nats::NatsPublisher;
use outbox_testkit::suite::publisher::PublisherHarness;

use consumer::Stream;

/// A stream of its own on one of the shared servers.
struct OnShared<const NEWEST: bool>(Stream);

#[async_trait]
impl<const NEWEST: bool> PublisherHarness for OnShared<NEWEST> {
    async fn open() -> Result<Self, String> {
        let variable = if NEWEST { "OUTBOX_TEST_NATS_NEWEST" } else { "OUTBOX_TEST_NATS" };
        let url = std::env::var(variable).map_err(|_| format!("{variable} is not set"))?;
        Stream::create(&url).await.map(Self)
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::new(NatsPublisher::connect(self.0.config()).await.unwrap())
    }

    fn topic(&self) -> String {
        self.0.subject.clone()
    }

    async fn arrived(&self) -> Vec<Message> {
        self.0.arrived().await
    }

    fn too_large(&self) -> Option<usize> {
        Some(1024 * 1024)
    }

    async fn close(self: Box<Self>) {
        self.0.delete().await;
    }
}

mod oldest {
    use super::*;
    outbox_testkit::publisher_suite!(OnShared<false>);
}

mod newest {
    use super::*;
    outbox_testkit::publisher_suite!(OnShared<true>);
}
