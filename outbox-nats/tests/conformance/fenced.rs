//! The publisher suite with a fence.

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Message, Publisher};
use outbox_nats::NatsPublisher;
use outbox_testkit::suite::publisher::PublisherHarness;

use crate::OnShared;
use crate::publishing::fenced;

struct Fenced(OnShared<true>);

#[async_trait]
impl PublisherHarness for Fenced {
    async fn open() -> Self {
        Self(OnShared::open().await)
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        Arc::new(NatsPublisher::connect(fenced(&self.0.stream)).await.unwrap())
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

outbox_testkit::publisher_suite!(Fenced);
