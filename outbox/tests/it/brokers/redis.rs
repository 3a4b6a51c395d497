//! Redis Streams.

use outbox_testkit::consumers::{self, Consumer};
use outbox_testkit::servers::{self, Server};

use super::{Broker, from_every_store};

/// It writes every command to its disk before it answers.
struct Redis(Server);

impl Broker for Redis {
    fn url(&self) -> String {
        self.0.url()
    }

    fn consumer(&self) -> impl Consumer {
        consumers::Redis(self.0.url())
    }

    fn server(&mut self) -> &mut Server {
        &mut self.0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_from_every_store() {
    Box::pin(from_every_store(Redis(servers::redis(&[]).await))).await;
}
