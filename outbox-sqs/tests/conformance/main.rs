//! The publisher suite on standard and FIFO queues, and what is particular to SQS.

mod chain;
mod crash;
mod faults;
mod queue;
mod security;
mod service;
mod sqs;
mod unsent;

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Message, Publisher};
use outbox_sqs::SqsPublisher;
use outbox_testkit::suite::publisher::PublisherHarness;

use queue::{Queue, config};
use service::Service;

/// A queue of its own on the shared server, and a service before it that can fail messages.
struct OnShared<const FIFO: bool> {
    queue: Queue,
    service: Service,
}

#[async_trait]
impl<const FIFO: bool> PublisherHarness for OnShared<FIFO> {
    async fn open() -> Self {
        let queue = Queue::create(FIFO).await;
        let service = Service::start(sqs::address(&config())).await;
        Self { queue, service }
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        let config = sqs::at(self.service.address);
        Arc::new(SqsPublisher::connect(config).await.unwrap())
    }

    fn topic(&self) -> String {
        self.queue.name.clone()
    }

    async fn arrived(&self) -> Vec<Message> {
        self.queue.arrived().await
    }

    async fn fail_next(&self, message: &Message) -> bool {
        self.service.fail(message, "InternalError", false);
        true
    }

    fn too_large(&self) -> Option<usize> {
        Some(256 * 1024)
    }

    async fn close(self: Box<Self>) {
        self.queue.delete().await;
    }
}

mod standard {
    use super::*;
    outbox_testkit::publisher_suite!(OnShared<false>);
}

mod fifo {
    use super::*;
    outbox_testkit::publisher_suite!(OnShared<true>);
}
