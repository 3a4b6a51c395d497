//! An independent consumer, and what the tests share.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant, UNIX_EPOCH};

use async_trait::async_trait;
use lapin::message::Delivery;
use lapin::options::{BasicGetOptions, QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{Channel, Connection, ConnectionProperties};
use outbox_core::{Message, MessageParts, Outcome, Publisher};
use outbox_rabbitmq::{RabbitMqConfig, RabbitMqPublisher};
use outbox_testkit::servers::shared;
use outbox_testkit::suite::publisher::PublisherHarness;
use tokio::sync::{Mutex, OnceCell};
use uuid::Uuid;

use crate::detour::Detour;

/// A quorum queue of its own, and all that was read from it.
pub(crate) struct Rabbit {
    pub(crate) url: String,
    pub(crate) queue: String,
    _connection: Connection,
    pub(crate) channel: Channel,
    read: Mutex<Vec<Message>>,
    detour: OnceCell<Detour>,
}

#[async_trait]
impl PublisherHarness for Rabbit {
    async fn open() -> Self {
        Self::with(&[("x-queue-type", text("quorum"))]).await
    }

    async fn publisher(&self) -> Arc<dyn Publisher> {
        let mut config = self.config("max_message_bytes=2000000");
        let server = config.servers.remove(0).parse().unwrap();
        let detour = self.detour.get_or_init(|| Detour::start(server)).await;
        config.servers = vec![detour.address().to_string()];
        Arc::new(RabbitMqPublisher::connect(config).await.unwrap())
    }

    fn topic(&self) -> String {
        self.queue.clone()
    }

    async fn arrived(&self) -> Vec<Message> {
        self.arrived_in(&self.queue).await
    }

    async fn fail_next(&self, message: &Message) -> bool {
        self.detour.get().expect("there is a publisher").mislead(message.id());
        true
    }

    fn too_large(&self) -> Option<usize> {
        Some(2_000_001)
    }

    async fn close(self: Box<Self>) {
        let options = QueueDeleteOptions::default();
        self.channel.queue_delete(self.queue.as_str().into(), options).await.unwrap();
    }
}

impl Rabbit {
    /// A queue with these arguments, on the shared server.
    pub(crate) async fn with(arguments: &[(&str, AMQPValue)]) -> Self {
        Self::at(shared("OUTBOX_TEST_RABBITMQ"), arguments).await
    }

    pub(crate) async fn at(url: String, arguments: &[(&str, AMQPValue)]) -> Self {
        let connection = Connection::connect(&url, ConnectionProperties::default()).await;
        let connection = connection.unwrap();
        let channel = connection.create_channel().await.unwrap();
        let queue = unique("queue");
        declare(&channel, &queue, arguments).await;
        let (read, detour) = (Mutex::default(), OnceCell::new());
        Self { url, queue, _connection: connection, channel, read, detour }
    }

    pub(crate) fn config(&self, options: &str) -> RabbitMqConfig {
        format!("{}?{options}", self.url).parse().unwrap()
    }

    /// A publisher with these options.
    pub(crate) async fn connect(&self, options: &str) -> RabbitMqPublisher {
        connect(&format!("{}?{options}", self.url)).await
    }

    pub(crate) async fn arrived_in(&self, queue: &str) -> Vec<Message> {
        let mut read = self.read.lock().await;
        let options = BasicGetOptions { no_ack: true };
        while let Some(got) = self.channel.basic_get(queue.into(), options).await.unwrap() {
            read.push(parse(got.delivery));
        }
        read.clone()
    }

    /// Waits until so many have arrived.
    pub(crate) async fn wait_for(&self, count: usize) {
        for _ in 0..1500 {
            if self.arrived().await.len() >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("{} of {count} have arrived", self.arrived().await.len());
    }

    pub(crate) async fn arrived_ids(&self) -> Vec<Uuid> {
        self.arrived().await.iter().map(Message::id).collect()
    }

    pub(crate) fn message(&self) -> Message {
        self.bytes(7)
    }

    pub(crate) fn bytes(&self, size: usize) -> Message {
        bytes(&self.queue, size)
    }

    pub(crate) fn messages(&self, count: usize) -> Vec<Message> {
        (0..count).map(|_| self.message()).collect()
    }
}

pub(crate) fn text(value: &str) -> AMQPValue {
    AMQPValue::LongString(value.into())
}

pub(crate) fn unique(what: &str) -> String {
    format!("outbox-test-{what}-{}", Uuid::now_v7().simple())
}

pub(crate) fn bytes(topic: &str, size: usize) -> Message {
    Message::bytes(topic, vec![b'x'; size]).key(Uuid::now_v7()).build().unwrap()
}

pub(crate) async fn declare(channel: &Channel, queue: &str, arguments: &[(&str, AMQPValue)]) {
    let mut table = FieldTable::default();
    // A test that fails leaves it behind.
    table.insert("x-expires".into(), AMQPValue::LongInt(600_000));
    for (name, value) in arguments {
        table.insert((*name).into(), value.clone());
    }
    let options = QueueDeclareOptions { durable: true, ..Default::default() };
    channel.queue_declare(queue.into(), options, table).await.unwrap();
}

pub(crate) async fn connect(url: &str) -> RabbitMqPublisher {
    let config: RabbitMqConfig = url.parse().unwrap();
    RabbitMqPublisher::connect(config).await.unwrap()
}

pub(crate) async fn publish(publisher: &dyn Publisher, messages: &[Message]) -> Vec<Outcome> {
    publish_within(publisher, messages, Duration::from_mins(1)).await
}

/// The channel was closed for the first of these two, sent in this order: which one it was for can't
/// be told, unless the second one came too late to be sent at all.
pub(crate) fn closed_under(guilty: &Outcome, later: &Outcome) -> bool {
    match later {
        Outcome::Unknown => *guilty == Outcome::Unknown,
        later => is_unsent(later) && matches!(guilty, Outcome::Unknown | Outcome::Rejected(_)),
    }
}

/// The channel was closed by then.
pub(crate) fn is_unsent(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Unavailable(reason) if reason.as_str().contains("channel state"))
}

pub(crate) async fn publish_within(
    publisher: &dyn Publisher,
    messages: &[Message],
    patience: Duration,
) -> Vec<Outcome> {
    let batch: Vec<_> = messages.iter().cloned().map(Arc::new).collect();
    let mut outcomes = vec![Outcome::Unknown; batch.len()];
    publisher.publish(&batch, Instant::now() + patience, &mut outcomes).await;
    outcomes
}

/// Publishes again and again until it is delivered, as a relay does.
pub(crate) async fn deliver_at_last(publisher: &dyn Publisher, message: &Message) {
    for _ in 0..600 {
        let (message, patience) = (std::slice::from_ref(message), Duration::from_secs(2));
        match publish_within(publisher, message, patience).await.remove(0) {
            Outcome::Delivered => return,
            Outcome::Unavailable(_) | Outcome::Unknown => {}
            other => panic!("{other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it is never delivered");
}

pub(crate) fn ids(messages: &[Message]) -> Vec<Uuid> {
    messages.iter().map(Message::id).collect()
}

/// By the names that the documentation promises.
fn parse(delivery: Delivery) -> Message {
    let properties = delivery.properties;
    assert_eq!(*properties.delivery_mode(), Some(2), "persistent");
    let short = |value: &Option<lapin::types::ShortString>| {
        value.as_ref().map(|value| value.to_string().into())
    };
    let mut headers: HashMap<String, Vec<String>> = HashMap::new();
    for (name, value) in properties.headers().as_ref().unwrap() {
        // A quorum queue counts for its consumers.
        if name.as_str() == "x-delivery-count" {
            continue;
        }
        headers.insert(name.to_string(), values(value));
    }
    let micros: u64 = headers.remove("outbox-created-at").unwrap()[0].parse().unwrap();
    assert_eq!(properties.timestamp().unwrap(), micros / 1_000_000);
    let key = headers.remove("outbox-key").map(|key| key[0].as_str().into());
    let names = headers.remove("outbox-header-names");
    let mut sorted: Vec<String> = headers.keys().cloned().collect();
    sorted.sort();
    let names = names.unwrap_or_else(|| {
        sorted.into_iter().flat_map(|name| vec![name.clone(); headers[&name].len()]).collect()
    });
    let pairs: Vec<_> = names
        .into_iter()
        .map(|name| (name.clone(), headers.get_mut(&name).unwrap().remove(0)))
        .collect();
    assert!(headers.values().all(Vec::is_empty), "all are named");
    Message::restore(MessageParts {
        id: properties.message_id().as_ref().unwrap().as_str().parse().unwrap(),
        topic: delivery.routing_key.to_string().into(),
        key,
        message_type: short(properties.kind()),
        content_type: short(properties.content_type()).unwrap(),
        payload: delivery.data.into(),
        headers: pairs,
        created_at: UNIX_EPOCH + Duration::from_micros(micros),
    })
}

fn values(value: &AMQPValue) -> Vec<String> {
    match value {
        AMQPValue::LongString(text) => vec![text.to_string()],
        AMQPValue::FieldArray(array) => array.as_slice().iter().flat_map(values).collect(),
        other => panic!("{other:?}"),
    }
}
