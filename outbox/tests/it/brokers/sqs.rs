//! SQS, with FIFO queues.

use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, QueueAttributeName};
use aws_smithy_http_client::Builder;
use outbox_testkit::faults::Proxy;
use outbox_testkit::servers::{self, Server};
use uuid::Uuid;

use super::{Broker, Target, from_every_store};

/// LocalStack keeps its queues in memory, so that it can't be restarted: it can't be reached for a
/// while instead, and what is under way then is cut off.
struct Sqs {
    server: Server,
    proxy: Proxy,
    client: Client,
}

impl Broker for Sqs {
    async fn target(&self) -> Target {
        let topic = format!("{}.fifo", Uuid::now_v7());
        let request = self.client.create_queue().queue_name(&topic);
        request.attributes(QueueAttributeName::FifoQueue, "true").send().await.unwrap();
        let [direct, proxied] = [self.server.address(), self.proxy.address()];
        let url = self.server.url().replace(&direct.to_string(), &proxied.to_string());
        Target { url, topic }
    }

    async fn restart(&mut self) {
        let held = self.proxy.hold_all();
        tokio::time::sleep(Duration::from_secs(2)).await;
        self.proxy.cut();
        drop(held);
    }

    async fn arrived(&self, target: &Target) -> Vec<Uuid> {
        let found = self.client.get_queue_url().queue_name(&target.topic).send().await;
        let queue = found.unwrap().queue_url.unwrap();
        let mut arrived = Vec::new();
        loop {
            let request = self.client.receive_message().queue_url(&queue);
            let request = request.max_number_of_messages(10).message_attribute_names("outbox-id");
            let messages = request.send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                return arrived;
            }
            arrived.extend(messages.iter().map(id));
            let entries = messages.iter().enumerate().map(|(at, message)| {
                let entry = DeleteMessageBatchRequestEntry::builder().id(at.to_string());
                entry.receipt_handle(message.receipt_handle().unwrap()).build().unwrap()
            });
            let request = self.client.delete_message_batch().queue_url(&queue);
            let deleted = request.set_entries(Some(entries.collect())).send().await.unwrap();
            assert!(deleted.failed().is_empty(), "{deleted:?}");
        }
    }
}

fn id(message: &Message) -> Uuid {
    let attributes = message.message_attributes().unwrap();
    attributes["outbox-id"].string_value().unwrap().parse().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn sqs_from_every_store() {
    let server = servers::sqs().await;
    let proxy = Proxy::start(server.address()).unwrap();
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(Builder::new().build_http())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(format!("http://{}", server.address()));
    let client = Client::from_conf(config.build());
    Box::pin(from_every_store(Sqs { server, proxy, client })).await;
}
