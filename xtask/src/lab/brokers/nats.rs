//! NATS, by async-nats' JetStream context.

use std::sync::Arc;

use anyhow::Result;
use async_nats::HeaderMap;
use async_nats::jetstream::{self, Context, stream};
use async_trait::async_trait;
use outbox_core::Message;
use outbox_core::broker::{CONTENT_TYPE, CREATED_AT, MESSAGE_KEY, MESSAGE_TYPE, created_at_micros};
use outbox_nats::{NatsConfig, NatsPublisher};

use super::{Bare, Pair};

pub(super) async fn connect(url: &str, is_fenced: bool) -> Result<Pair> {
    let mut config: NatsConfig = url.parse()?;
    if is_fenced {
        config.fence = Some("{topic}.fence".parse()?);
    }
    let context = jetstream::new(async_nats::connect(url).await?);
    let adapter = Arc::new(NatsPublisher::connect(config).await?);
    Ok(Pair { adapter, bare: Arc::new(Nats { context }) })
}

struct Nats {
    context: Context,
}

#[async_trait]
impl Bare for Nats {
    async fn create(&self, name: &str) -> Result<()> {
        // For the messages, and for the claims of a fence.
        let (subjects, name) = (vec![name.to_owned(), format!("{name}.fence.*")], name.to_owned());
        let config = stream::Config { name, subjects, ..Default::default() };
        self.context.create_stream(config).await?;
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.context.delete_stream(name).await?;
        Ok(())
    }

    async fn publish(&self, batch: &[Arc<Message>]) -> Result<()> {
        let mut acks = Vec::with_capacity(batch.len());
        for message in batch {
            let (subject, payload) = (message.topic().to_owned(), message.payload().clone());
            let sent = self.context.publish_with_headers(subject, headers(message), payload);
            acks.push(sent.await?);
        }
        for ack in acks {
            ack.await?;
        }
        Ok(())
    }
}

fn headers(message: &Message) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(async_nats::header::NATS_MESSAGE_ID, message.id().to_string());
    headers.insert(CREATED_AT, created_at_micros(message).to_string());
    headers.insert(CONTENT_TYPE, message.content_type());
    headers.insert(MESSAGE_KEY, message.key().unwrap_or_default());
    headers.insert(MESSAGE_TYPE, message.message_type().unwrap_or_default());
    headers
}
