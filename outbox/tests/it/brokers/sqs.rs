//! SQS, with FIFO queues.

use std::time::Duration;

use outbox_testkit::consumers::{self, Consumer};
use outbox_testkit::faults::{Held, Proxy};
use outbox_testkit::servers::{self, Server};
use uuid::Uuid;

use super::{Broker, from_every_store};

/// LocalStack keeps its queues in memory, so that it can't be restarted: it can't be reached for a
/// while instead, and what is under way then is cut off.
struct Sqs {
    server: Server,
    proxy: Proxy,
    /// While nothing gets through.
    held: Option<Held>,
}

impl Broker for Sqs {
    fn url(&self) -> String {
        let [direct, proxied] = [self.server.address(), self.proxy.address()];
        self.server.url().replace(&direct.to_string(), &proxied.to_string())
    }

    fn consumer(&self) -> impl Consumer {
        consumers::Sqs::at(self.server.address())
    }

    fn topic(&self) -> String {
        format!("{}.fifo", Uuid::now_v7())
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    async fn go_down(&mut self) {
        self.held = Some(self.proxy.hold_all());
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.proxy.cut();
    }

    async fn come_back(&mut self) {
        self.held = None;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sqs_from_every_store() {
    let server = servers::sqs().await;
    let proxy = Proxy::start(server.address()).unwrap();
    Box::pin(from_every_store(Sqs { server, proxy, held: None })).await;
}
