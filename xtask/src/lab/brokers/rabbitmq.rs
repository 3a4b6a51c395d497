//! RabbitMQ, by lapin's channels with publisher confirms.

use std::sync::{Arc, Mutex};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use futures::future::try_join_all;
use lapin::options::{
    BasicPublishOptions, ConfirmSelectOptions, QueueDeclareOptions, QueueDeleteOptions,
};
use lapin::types::{AMQPValue, FieldTable};
use lapin::{BasicProperties, Channel, Confirmation, Connection, ConnectionProperties};
use outbox_core::Message;
use outbox_core::broker::{CREATED_AT, MESSAGE_KEY, created_at_micros};
use outbox_rabbitmq::{RabbitMqConfig, RabbitMqPublisher};

use super::{Bare, Pair};

pub(super) async fn connect(url: &str) -> Result<Pair> {
    let config: RabbitMqConfig = url.parse()?;
    let connection = Connection::connect(url, ConnectionProperties::default()).await?;
    let adapter = Arc::new(RabbitMqPublisher::connect(config).await?);
    Ok(Pair { adapter, bare: Arc::new(RabbitMq { connection, idle: Mutex::default() }) })
}

/// One connection, and a channel for each call that is under way.
struct RabbitMq {
    connection: Connection,
    idle: Mutex<Vec<Channel>>,
}

impl RabbitMq {
    async fn channel(&self) -> Result<Channel> {
        let idle = self.idle.lock().expect("nobody panics").pop();
        if let Some(channel) = idle {
            return Ok(channel);
        }
        let channel = self.connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(channel)
    }
}

#[async_trait]
impl Bare for RabbitMq {
    async fn create(&self, name: &str) -> Result<()> {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        let channel = self.connection.create_channel().await?;
        channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await?;
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        let channel = self.connection.create_channel().await?;
        channel.queue_delete(name.into(), QueueDeleteOptions::default()).await?;
        Ok(())
    }

    async fn publish(&self, batch: &[Arc<Message>]) -> Result<()> {
        let channel = self.channel().await?;
        let options = BasicPublishOptions { mandatory: true, immediate: false };
        let sending = batch.iter().map(|message| {
            let (queue, payload) = (message.topic().into(), message.payload());
            channel.basic_publish("".into(), queue, options, payload, properties(message))
        });
        for confirmation in try_join_all(sending).await? {
            let confirmed = confirmation.await?;
            ensure!(confirmed == Confirmation::Ack(None), "RabbitMQ says {confirmed:?}");
        }
        self.idle.lock().expect("nobody panics").push(channel);
        Ok(())
    }
}

fn properties(message: &Message) -> BasicProperties {
    let text = |text: &str| AMQPValue::LongString(text.into());
    let micros = created_at_micros(message);
    let mut headers = FieldTable::default();
    headers.insert(MESSAGE_KEY.into(), text(message.key().unwrap_or_default()));
    headers.insert(CREATED_AT.into(), text(&micros.to_string()));
    BasicProperties::default()
        .with_content_type(message.content_type().into())
        .with_delivery_mode(2)
        .with_timestamp(micros / 1_000_000)
        .with_message_id(message.id().to_string().into())
        .with_type(message.message_type().unwrap_or_default().into())
        .with_headers(headers)
}
