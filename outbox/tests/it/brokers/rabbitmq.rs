//! RabbitMQ, with quorum queues.

use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use outbox_testkit::servers::{self, Server};
use uuid::Uuid;

use super::{Broker, Target, from_every_store};

struct RabbitMq(Server);

async fn channel(url: &str) -> (Connection, Channel) {
    let connection = Connection::connect(url, ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

/// The queue as it is, which tells how many messages there are in it.
async fn declare(channel: &Channel, name: &str) -> u32 {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(name.into(), options, arguments).await.unwrap().message_count()
}

impl Broker for RabbitMq {
    async fn target(&self) -> Target {
        let (url, topic) = (self.0.url(), Uuid::now_v7().to_string());
        let (_connection, channel) = channel(&url).await;
        declare(&channel, &topic).await;
        Target { url, topic }
    }

    /// No crash: a quorum queue with a single member of RabbitMQ 3.10 may find no leader after one.
    async fn restart(&mut self) {
        self.0.stop();
        self.0.start_again().await;
    }

    async fn arrived(&self, target: &Target) -> Vec<Uuid> {
        let (_connection, channel) = channel(&target.url).await;
        let count = declare(&channel, &target.topic).await as usize;
        let options = BasicConsumeOptions { no_ack: true, ..Default::default() };
        let name = target.topic.as_str();
        let consumer =
            channel.basic_consume(name.into(), "".into(), options, FieldTable::default());
        let deliveries = consumer.await.unwrap().take(count);
        let id = |delivery: lapin::message::Delivery| -> Uuid {
            delivery.properties.message_id().as_ref().unwrap().as_str().parse().unwrap()
        };
        deliveries.map(|delivery| id(delivery.unwrap())).collect().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq_from_every_store() {
    Box::pin(from_every_store(RabbitMq(servers::rabbitmq("", "").await))).await;
}
