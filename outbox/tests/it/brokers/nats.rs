//! NATS JetStream.

use outbox_testkit::consumers::{self, Consumer};
use outbox_testkit::servers::{self, Server};

use super::{Broker, from_every_store};

struct Nats(Server);

impl Broker for Nats {
    fn url(&self) -> String {
        self.0.url()
    }

    fn consumer(&self) -> impl Consumer {
        consumers::Nats(self.0.url())
    }

    async fn restart(&mut self) {
        self.0.restart().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_from_every_store() {
    Box::pin(from_every_store(Nats(servers::nats("").await))).await;
}
