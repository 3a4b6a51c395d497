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

use std::marker::PhantomData;
use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Message, Publisher};
use outbox_kafka::{KafkaConfig, KafkaPublisher};
use outbox_testkit::suite::publisher::PublisherHarness;
use tokio::sync::OnceCell;

/// A topic of three partitions on the shared broker, and one that can refuse what it gets.
struct Kafka<W> {
    url: String,
    topic: String,
    other: OnceCell<String>,
    /// The topic of the fence, if there is one.
    fence: Option<String>,
    writing: PhantomData<W>,
}

/// How it is published to.
trait Writing: Send + Sync + 'static {
    /// `FENCE` stands for the name of a fence.
    const OPTIONS: &str;
}

struct Plainly;

impl Writing for Plainly {
    const OPTIONS: &str = "";
}

struct Transactional;

impl Writing for Transactional {
    const OPTIONS: &str = "?transactional_id=outbox-test";
}

struct Fenced;

impl Writing for Fenced {
    const OPTIONS: &str = "?fence=FENCE";
}

#[async_trait]
impl<W: Writing> PublisherHarness for Kafka<W> {
    async fn open() -> Self {
        let url = broker::shared();
        let servers = broker::servers(&url);
        let topic = broker::new_topic(&servers, &[]).await;
        let fence = if W::OPTIONS.contains("FENCE") {
            Some(broker::new_topic(&servers, &[]).await)
        } else {
            None
        };
        Self { url, topic, other: OnceCell::new(), fence, writing: PhantomData }
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        let options = W::OPTIONS.replace("FENCE", self.fence.as_deref().unwrap_or_default());
        let config: KafkaConfig = format!("{}{options}", self.url).parse().unwrap();
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
        for topic in self.other.get().into_iter().chain(&self.fence) {
            broker::delete_topic(&servers, topic).await;
        }
    }
}

/// The option of a topic that says how many bytes a request may have for a partition.
const MOST: &str = "max.message.bytes";

mod suite {
    use super::*;
    outbox_testkit::publisher_suite!(Kafka<Plainly>);
}

mod transactional_suite {
    use super::*;
    outbox_testkit::publisher_suite!(Kafka<Transactional>);
}

mod fenced_suite {
    use super::*;
    outbox_testkit::publisher_suite!(Kafka<Fenced>);
}
