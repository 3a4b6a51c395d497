//! RabbitMQ, with quorum queues.

use outbox_testkit::consumers::{self, Consumer};
use outbox_testkit::servers::{self, Server};

use super::{Broker, from_every_store};

struct RabbitMq(Server);

impl Broker for RabbitMq {
    fn url(&self) -> String {
        self.0.url()
    }

    fn consumer(&self) -> impl Consumer {
        consumers::RabbitMq(self.0.url())
    }

    fn server(&mut self) -> &mut Server {
        &mut self.0
    }

    /// No crash: a quorum queue with a single member of RabbitMQ 3.10 may find no leader after one.
    async fn go_down(&mut self) {
        self.0.stop();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_from_every_store() {
    Box::pin(from_every_store(RabbitMq(servers::rabbitmq("", "").await))).await;
}
