//! NATS JetStream, without and with a fence.

use outbox_testkit::consumers::{self, Consumer};
use outbox_testkit::servers::{self, Server};

use super::{Broker, from_every_store};

struct Nats {
    server: Server,
    options: &'static str,
}

impl Broker for Nats {
    fn url(&self) -> String {
        format!("{}{}", self.server.url(), self.options)
    }

    fn consumer(&self) -> impl Consumer {
        consumers::Nats(self.server.url())
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_from_every_store() {
    Box::pin(from_every_store(Nats { server: servers::nats("").await, options: "" })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_with_fences_from_every_store() {
    let options = "?fence={topic}.fence";
    Box::pin(from_every_store(Nats { server: servers::nats_newest("").await, options })).await;
}
