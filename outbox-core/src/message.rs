//! The message: what a service stores in its outbox and a broker receives.

use std::fmt;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use serde::Serialize;
use uuid::Uuid;

use crate::{Event, InvalidMessage, Limits, json};

/// A message on its way from a database to a broker.
///
/// A message is immutable and cheap to clone. Its [`id`](Message::id) stays the same over every
/// retry, so that consumers can recognise a duplicate by it.
///
/// ```
/// use outbox_core::Message;
///
/// let message = Message::json("orders", &serde_json::json!({ "order": 42 }))
///     .key("customer-7")
///     .message_type("order.placed")
///     .header("tenant", "acme")
///     .build()?;
/// assert_eq!(message.topic(), "orders");
/// assert_eq!(message.content_type(), "application/json");
/// # Ok::<(), outbox_core::InvalidMessage>(())
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Message(MessageParts);

/// All that a [`Message`] consists of: what a store writes and reads back.
#[derive(Clone, PartialEq, Eq)]
pub struct MessageParts {
    /// Message id and idempotency key; a UUIDv7 unless the producer chose another.
    pub id: Uuid,
    /// Where it goes: routes map a topic to a broker's destination.
    pub topic: Arc<str>,
    /// Messages of one key keep their order. Without a key there is no order to keep.
    pub key: Option<Arc<str>>,
    /// What kind of event it is, for consumers that switch on it.
    pub message_type: Option<Arc<str>>,
    /// The media type of the payload.
    pub content_type: Arc<str>,
    /// Opaque bytes.
    pub payload: Bytes,
    /// Name and value pairs, in order; a name may appear twice.
    pub headers: Vec<(String, String)>,
    /// When the producer made it, by the producer's clock.
    pub created_at: SystemTime,
}

impl Message {
    /// Starts a message with opaque bytes, of content type `application/octet-stream`.
    pub fn bytes(topic: impl Into<Arc<str>>, payload: impl Into<Bytes>) -> MessageBuilder {
        MessageBuilder::new(topic.into(), Ok(payload.into()), "application/octet-stream")
    }

    /// Starts a message whose payload is `event` as JSON, of content type `application/json`.
    ///
    /// If serialising fails, [`MessageBuilder::build`] says so.
    pub fn json(topic: impl Into<Arc<str>>, event: &impl Serialize) -> MessageBuilder {
        MessageBuilder::new(topic.into(), json(event), "application/json")
    }

    /// Starts a message of what `event` says of itself.
    pub fn event(event: &impl Event) -> MessageBuilder {
        let (topic, content_type) = (event.topic().into(), event.content_type());
        let mut builder = MessageBuilder::new(topic, event.payload(), content_type);
        builder.parts.key = event.key().map(Into::into);
        builder.parts.message_type = event.message_type().map(Into::into);
        builder
    }

    /// Takes parts as a store has read them, without checking them again: what stands in the
    /// table has been committed, and refusing it here would lose it.
    pub fn restore(parts: MessageParts) -> Self {
        Self(parts)
    }

    /// The message id, also its idempotency key.
    pub fn id(&self) -> Uuid {
        self.0.id
    }

    /// Where it goes.
    pub fn topic(&self) -> &str {
        &self.0.topic
    }

    /// The key whose messages stay in order.
    pub fn key(&self) -> Option<&str> {
        self.0.key.as_deref()
    }

    /// The kind of event.
    pub fn message_type(&self) -> Option<&str> {
        self.0.message_type.as_deref()
    }

    /// The media type of the payload.
    pub fn content_type(&self) -> &str {
        &self.0.content_type
    }

    /// The payload.
    pub fn payload(&self) -> &Bytes {
        &self.0.payload
    }

    /// Header pairs in order.
    pub fn headers(&self) -> &[(String, String)] {
        &self.0.headers
    }

    /// The first header of that name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.0.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// When the producer made it, by the producer's clock.
    pub fn created_at(&self) -> SystemTime {
        self.0.created_at
    }

    #[cfg(feature = "opentelemetry")]
    pub(crate) fn headers_mut(&mut self) -> &mut Vec<(String, String)> {
        &mut self.0.headers
    }

    /// All of it.
    pub fn parts(&self) -> &MessageParts {
        &self.0
    }

    /// The bytes it occupies in memory and on the wire, roughly: payload, key, headers and names.
    pub fn size(&self) -> usize {
        let parts = &self.0;
        let text = |value: &Option<Arc<str>>| value.as_ref().map_or(0, |text| text.len());
        parts.payload.len()
            + parts.topic.len()
            + parts.content_type.len()
            + text(&parts.key)
            + text(&parts.message_type)
            + parts.headers.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>()
    }
}

/// Neither payload nor header values: messages are printed in logs, their content must not be.
impl fmt::Debug for Message {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl fmt::Debug for MessageParts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Message")
            .field("id", &self.id)
            .field("topic", &self.topic)
            .field("type", &self.message_type)
            .field("content_type", &self.content_type)
            .field("payload_bytes", &self.payload.len())
            .field("headers", &self.headers.len())
            .finish_non_exhaustive()
    }
}

/// Builds a [`Message`]; made by [`Message::bytes`], [`Message::json`] and [`Message::event`].
#[derive(Debug, Clone)]
#[must_use = "a builder does nothing until `build` is called"]
pub struct MessageBuilder {
    payload: Result<Bytes, InvalidMessage>,
    parts: MessageParts,
}

impl MessageBuilder {
    fn new(topic: Arc<str>, payload: Result<Bytes, InvalidMessage>, content_type: &str) -> Self {
        let parts = MessageParts {
            id: Uuid::now_v7(),
            topic,
            key: None,
            message_type: None,
            content_type: content_type.into(),
            payload: Bytes::new(),
            headers: Vec::new(),
            created_at: SystemTime::now(),
        };
        Self { payload, parts }
    }

    /// Sets the key; anything that prints is one, such as a UUID or an integer.
    pub fn key(mut self, key: impl fmt::Display) -> Self {
        self.parts.key = Some(key.to_string().into());
        self
    }

    /// Sets the kind of event.
    pub fn message_type(mut self, message_type: impl Into<Arc<str>>) -> Self {
        self.parts.message_type = Some(message_type.into());
        self
    }

    /// Sets the media type of the payload.
    pub fn content_type(mut self, content_type: impl Into<Arc<str>>) -> Self {
        self.parts.content_type = content_type.into();
        self
    }

    /// Adds a header after those that are there.
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.parts.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the id, for producers that have an idempotency key of their own.
    pub fn id(mut self, id: Uuid) -> Self {
        self.parts.id = id;
        self
    }

    /// Sets the time of creation; the default is now.
    pub fn created_at(mut self, created_at: SystemTime) -> Self {
        self.parts.created_at = created_at;
        self
    }

    /// Checks the message against the default [`Limits`].
    pub fn build(self) -> Result<Message, InvalidMessage> {
        self.build_within(&Limits::default())
    }

    /// Checks the message against limits of the caller's own.
    ///
    /// With the feature `opentelemetry` it is here that the message gets the trace context of the
    /// current span.
    pub fn build_within(self, limits: &Limits) -> Result<Message, InvalidMessage> {
        let message = Message(MessageParts { payload: self.payload?, ..self.parts });
        limits.check(&message)?;
        #[cfg(feature = "opentelemetry")]
        let message = crate::trace::add_context(message, limits);
        Ok(message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_neither_payload_nor_header_values_nor_key() {
        let message = Message::bytes("orders", "canary-payload")
            .key("canary-key")
            .header("authorization", "canary-header")
            .build()
            .unwrap();
        let shown = format!("{message:?} {:?}", message.parts());
        assert!(shown.contains("orders"));
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn a_payload_that_does_not_serialise_is_told_at_build() {
        let not_json = std::collections::HashMap::from([((1, 2), "key is no string")]);
        let error = Message::json("orders", &not_json).build().unwrap_err();
        assert!(matches!(error, InvalidMessage::Serialize { .. }), "{error}");
    }

    #[test]
    fn keys_are_anything_that_prints() {
        let id = Uuid::now_v7();
        let message = Message::bytes("t", "").key(id).build().unwrap();
        assert_eq!(message.key(), Some(id.to_string().as_str()));
        assert_eq!(Message::bytes("t", "").key(7).build().unwrap().key(), Some("7"));
    }
}
