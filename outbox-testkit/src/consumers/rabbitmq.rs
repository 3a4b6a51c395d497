//! RabbitMQ, with quorum queues.

use async_trait::async_trait;
use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use uuid::Uuid;

use super::Consumer;

/// A node by its URL. What is sent to a queue that isn't there is returned.
#[derive(Debug)]
pub struct RabbitMq(pub String);

impl RabbitMq {
    async fn channel(&self) -> (Connection, Channel) {
        let connection = Connection::connect(&self.0, ConnectionProperties::default()).await;
        let connection = connection.unwrap();
        let channel = connection.create_channel().await.unwrap();
        (connection, channel)
    }
}

/// The queue as it is, which tells how many messages there are in it.
async fn declare(channel: &Channel, name: &str) -> u32 {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.into(), options, arguments).await.unwrap().message_count()
}

#[async_trait]
impl Consumer for RabbitMq {
    async fn create(&self, topic: &str) {
        let (_connection, channel) = self.channel().await;
        declare(&channel, topic).await;
    }

    async fn arrived(&self, topic: &str) -> Vec<Uuid> {
        let (_connection, channel) = self.channel().await;
        let count = declare(&channel, topic).await as usize;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let consumer =
            channel.basic_consume(topic.into(), "".into(), options, FieldTable::default());
        let deliveries = consumer.await.unwrap().take(count);
        let id = |delivery: lapin::message::Delivery| -> Uuid {
            delivery.properties.message_id().as_ref().unwrap().as_str().parse().unwrap()
        };
        deliveries.map(|delivery| id(delivery.unwrap())).collect().await
    }
}
