//! Reading what arrives.

use std::fmt;

use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::{Ordered, OrderedConfig};
use async_trait::async_trait;
use futures::StreamExt;
use outbox_core::broker::Tail;
use outbox_core::{Message, Reason};

use crate::link::{context, provide_cryptography};
use crate::mapping::{received, subject};
use crate::{NatsConfig, NatsError};

/// Reads a topic from its stream, from now on, by an ordered consumer: one that acknowledges
/// nothing and goes away by itself. It survives what the client's reconnecting survives.
pub struct NatsTail {
    topic: String,
    messages: Ordered,
}

impl NatsTail {
    /// Connects, and reads `topic` from now on.
    pub async fn connect(config: NatsConfig, topic: &str) -> Result<Self, NatsError> {
        config.check()?;
        let subject = subject(&config.destination, topic).map_err(NatsError::Destination)?;
        let options = config.options().await?;
        provide_cryptography();
        let client = options.connect(config.addresses()?).await.map_err(NatsError::Connect)?;
        let jetstream = context(client, config.domain.as_deref());
        let name = jetstream.stream_by_subject(subject.clone()).await;
        let name =
            name.map_err(|source| NatsError::NoStream { subject: subject.clone(), source })?;
        let read = |error: Box<dyn std::error::Error + Send + Sync>| NatsError::read(&name, error);
        let stream = jetstream.get_stream(&name).await.map_err(|e| read(e.into()))?;
        let deliver_policy = DeliverPolicy::New;
        let consumer = OrderedConfig { filter_subject: subject, deliver_policy, ..<_>::default() };
        let consumer = stream.create_consumer(consumer).await;
        let consumer = consumer.map_err(|e| read(e.into()))?;
        let messages = consumer.messages().await.map_err(|e| read(e.into()))?;
        Ok(Self { topic: topic.to_owned(), messages })
    }
}

#[async_trait]
impl Tail for NatsTail {
    async fn next(&mut self) -> Result<Message, Reason> {
        let next = self.messages.next().await.ok_or("the stream's consumer has ended")?;
        let message = next.map_err(|error| Reason::of(&error))?.message;
        Ok(received(&self.topic, message.headers.as_ref(), message.payload))
    }
}

impl fmt::Debug for NatsTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsTail").field("topic", &self.topic).finish_non_exhaustive()
    }
}
