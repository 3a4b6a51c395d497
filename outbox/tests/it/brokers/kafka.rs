//! Kafka: with single messages, with a transaction for each batch, with a fence.

use outbox_testkit::consumers::{self, Consumer};
use outbox_testkit::servers::{self, Server};

use super::{Broker, from_every_store};

struct Kafka {
    server: Server,
    options: &'static str,
}

impl Broker for Kafka {
    fn url(&self) -> String {
        format!("{}{}", self.server.url(), self.options)
    }

    fn consumer(&self) -> impl Consumer {
        consumers::Kafka(self.server.address())
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_from_every_store() {
    Box::pin(from_every_store(Kafka { server: servers::kafka().await, options: "" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_transactions_from_every_store() {
    let options = "?transactional_id=outbox&transaction_timeout_ms=10000";
    Box::pin(from_every_store(Kafka { server: servers::kafka().await, options })).await;
}

/// Each outbox has epochs of its own, and so its own fence.
#[tokio::test(flavor = "multi_thread")]
async fn kafka_with_fences_from_every_store() {
    let options = "?fence=TOPIC-fence&create_topics=true&transaction_timeout_ms=10000";
    Box::pin(from_every_store(Kafka { server: servers::kafka().await, options })).await;
}
