//! Reading what arrives.

use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use futures::StreamExt as _;
use lapin::options::{BasicConsumeOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{FieldTable, ShortString};
use lapin::{Channel, Consumer};
use outbox_core::broker::Tail;
use outbox_core::{Message, Reason};

use crate::link::Link;
use crate::{RabbitMqConfig, RabbitMqError};

/// Reads the messages of one topic.
///
/// With an exchange it has a queue of its own, bound with the topic's routing key, that goes when
/// the tail does: it sees what arrives from now on, and takes nothing from others. (A headers
/// exchange routes by headers, so that such a queue gets what matches no arguments: all of it.)
///
/// With the default exchange there is only the queue itself. The tail receives all that is in it and
/// acknowledges nothing, but *while it runs other consumers don't get what it has received*; when
/// it ends the broker puts that back, marked as redelivered, and in a quorum queue counted against its
/// delivery limit. Don't use it on a queue that a service consumes.
#[derive(Debug)]
pub struct RabbitMqTail {
    topic: String,
    consumer: Consumer,
    // Both end what they stand for when they are dropped.
    _channel: Channel,
    _link: Link,
}

impl RabbitMqTail {
    /// Begins to read what is published on `topic` by a publisher of the same configuration.
    pub async fn connect(config: RabbitMqConfig, topic: &str) -> Result<Self, RabbitMqError> {
        config.check()?;
        let none = RabbitMqError::Config("it has no destination for this topic");
        let Some(key) = config.destination.of(topic) else { return Err(none) };
        let exchange = match &config.exchange {
            Some(exchanges) => exchanges.of(topic),
            None => Some("".into()),
        };
        let Some(exchange) = exchange else { return Err(none) };
        let too_long = |_| RabbitMqError::Config("the destination has more than 255 bytes");
        let key = ShortString::try_new(key).map_err(too_long)?;
        let exchange = ShortString::try_new(exchange).map_err(too_long)?;
        let link = Link::connect(&config, &AtomicUsize::new(0)).await?;
        let (channel, consumer) = read(&link, &config, exchange, key).await.map_err(Box::new)?;
        Ok(Self { topic: topic.to_owned(), consumer, _channel: channel, _link: link })
    }
}

async fn read(
    link: &Link,
    config: &RabbitMqConfig,
    exchange: ShortString,
    key: ShortString,
) -> lapin::Result<(Channel, Consumer)> {
    let channel = link.channel().await?;
    let mut options = BasicConsumeOptions::default();
    let queue = if exchange.as_str().is_empty() {
        if let Some(of) = config.declare_queues {
            link.make_queue(&key, of).await?;
        }
        key
    } else {
        let own = QueueDeclareOptions { exclusive: true, auto_delete: true, ..Default::default() };
        let queue = channel.queue_declare("".into(), own, FieldTable::default()).await?;
        let (queue, bind) = (queue.name().clone(), QueueBindOptions::default());
        channel.queue_bind(queue.clone(), exchange, key, bind, FieldTable::default()).await?;
        options.no_ack = true;
        queue
    };
    let consumer = channel.basic_consume(queue, "".into(), options, FieldTable::default()).await?;
    Ok((channel, consumer))
}

#[async_trait]
impl Tail for RabbitMqTail {
    async fn next(&mut self) -> Result<Message, Reason> {
        match self.consumer.next().await {
            Some(Ok(delivery)) => Ok(crate::mapping::open(&self.topic, delivery)),
            Some(Err(error)) => Err(Reason::of(&error)),
            None => Err("the queue or the connection is gone".into()),
        }
    }
}
