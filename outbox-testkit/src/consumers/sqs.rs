//! SQS queues.

use std::net::SocketAddr;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, QueueAttributeName};
use aws_smithy_http_client::Builder;
use uuid::Uuid;

use super::Consumer;

/// A service with FIFO queues. What is sent to a queue that isn't there fails.
#[derive(Debug)]
pub struct Sqs(Client);

impl Sqs {
    /// A service without encryption, for any key.
    pub fn at(address: SocketAddr) -> Self {
        let config = aws_sdk_sqs::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .http_client(Builder::new().build_http())
            .region(Region::new("us-east-1"))
            .credentials_provider(Credentials::new("test", "test", None, None, "test"))
            .endpoint_url(format!("http://{address}"));
        Self(Client::from_conf(config.build()))
    }
}

#[async_trait]
impl Consumer for Sqs {
    async fn create(&self, topic: &str) {
        let request = self.0.create_queue().queue_name(topic);
        request.attributes(QueueAttributeName::FifoQueue, "true").send().await.unwrap();
    }

    async fn arrived(&self, topic: &str) -> Vec<Uuid> {
        let found = self.0.get_queue_url().queue_name(topic).send().await;
        let queue = found.unwrap().queue_url.unwrap();
        let mut arrived = Vec::new();
        loop {
            let request = self.0.receive_message().queue_url(&queue);
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
            let request = self.0.delete_message_batch().queue_url(&queue);
            let deleted = request.set_entries(Some(entries.collect())).send().await.unwrap();
            assert!(deleted.failed().is_empty(), "{deleted:?}");
        }
    }
}

fn id(message: &Message) -> Uuid {
    let attributes = message.message_attributes().unwrap();
    attributes["outbox-id"].string_value().unwrap().parse().unwrap()
}
