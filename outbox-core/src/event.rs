//! Typed events.

use bytes::Bytes;
use serde::Serialize;

use crate::{InvalidMessage, Limits, Message, MessageBuilder};

/// An event of a service's own type, which says by itself where it goes.
///
/// `#[derive(Event)]` of the crate `outbox-derive` writes this for a type that serde serialises.
/// By hand, the payload may be anything:
///
/// ```
/// use outbox_core::{Event, InvalidMessage, Message};
///
/// struct OrderPlaced {
///     order: u64,
/// }
///
/// impl Event for OrderPlaced {
///     fn topic(&self) -> &str {
///         "orders"
///     }
///
///     fn message_type(&self) -> Option<&str> {
///         Some("order.placed")
///     }
///
///     fn key(&self) -> Option<String> {
///         Some(self.order.to_string())
///     }
///
///     fn content_type(&self) -> &str {
///         "application/x-protobuf"
///     }
///
///     fn payload(&self) -> Result<bytes::Bytes, InvalidMessage> {
///         Ok(self.order.to_be_bytes().to_vec().into())
///     }
/// }
///
/// let message = Message::event(&OrderPlaced { order: 42 }).build()?;
/// assert_eq!(message.key(), Some("42"));
/// # Ok::<(), InvalidMessage>(())
/// ```
pub trait Event {
    /// Where it goes.
    fn topic(&self) -> &str;

    /// What kind of event it is.
    fn message_type(&self) -> Option<&str> {
        None
    }

    /// Events of one key keep their order.
    fn key(&self) -> Option<String> {
        None
    }

    /// The media type of the payload.
    #[expect(clippy::unnecessary_literal_bound, reason = "an event may hold its content type")]
    fn content_type(&self) -> &str {
        "application/json"
    }

    /// The payload: [`json`] unless it is another content type.
    fn payload(&self) -> Result<Bytes, InvalidMessage>;
}

/// `event` as JSON, for [`Event::payload`].
///
/// If that fails, the error names its type and not what the serialiser said: that is made by code
/// of the event's, and may quote it.
pub fn json<E: Serialize>(event: &E) -> Result<Bytes, InvalidMessage> {
    let json = serde_json::to_vec(event).map(Bytes::from);
    let reason = || format!("serde makes no JSON of this `{}`", std::any::type_name::<E>());
    json.map_err(|_| InvalidMessage::Serialize { reason: reason() })
}

/// What can be enqueued: a [`Message`], a builder of one, or an [`Event`].
pub trait IntoMessage {
    /// The message, checked against `limits`.
    fn into_message(self, limits: &Limits) -> Result<Message, InvalidMessage>;
}

impl IntoMessage for Message {
    fn into_message(self, limits: &Limits) -> Result<Message, InvalidMessage> {
        limits.check(&self)?;
        Ok(self)
    }
}

impl IntoMessage for &Message {
    fn into_message(self, limits: &Limits) -> Result<Message, InvalidMessage> {
        self.clone().into_message(limits)
    }
}

impl IntoMessage for MessageBuilder {
    fn into_message(self, limits: &Limits) -> Result<Message, InvalidMessage> {
        self.build_within(limits)
    }
}

impl<E: Event> IntoMessage for &E {
    fn into_message(self, limits: &Limits) -> Result<Message, InvalidMessage> {
        Message::event(self).build_within(limits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Serialize)]
    struct Placed(u64);

    impl Event for Placed {
        fn topic(&self) -> &'static str {
            "orders"
        }

        fn payload(&self) -> Result<Bytes, InvalidMessage> {
            json(self)
        }
    }

    struct Talkative(&'static str);

    impl Serialize for Talkative {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom(format!("{} is no card number", self.0)))
        }
    }

    /// Seen to fail with the serialiser's own text as the reason.
    #[test]
    fn what_cannot_be_serialised_is_not_quoted() {
        let error = json(&Talkative("canary")).unwrap_err();
        let shown = format!("{error} {error:?}");
        assert!(shown.contains("event::tests::Talkative"), "{shown}");
        assert!(!shown.contains("canary"), "{shown}");
    }

    #[test]
    fn all_that_can_be_enqueued_is_checked() {
        let strict = Limits { payload: 1, ..Limits::default() };
        let builder = || Message::json("orders", &7);
        let message = builder().build().unwrap();
        for made in [
            message.clone().into_message(&strict),
            (&message).into_message(&strict),
            builder().into_message(&strict),
            (&Placed(7)).into_message(&strict),
        ] {
            assert_eq!(made.unwrap().payload(), "7");
        }
        let large = || Message::json("orders", &77);
        let refused = |made: Result<Message, InvalidMessage>| made.unwrap_err();
        refused(large().build().unwrap().into_message(&strict));
        refused((&large().build().unwrap()).into_message(&strict));
        refused(large().into_message(&strict));
        refused((&Placed(77)).into_message(&strict));
    }
}
