//! What a message may contain, checked before anything is written.

use crate::Message;

/// Upper bounds on the parts of a message, in bytes of UTF-8 unless said otherwise.
///
/// The bounds on names are those of the tables' columns and can only be narrowed; the bound on
/// the payload is the user's to set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Topic; 249 is what Kafka allows and the narrowest of the brokers.
    pub topic: usize,
    /// Key.
    pub key: usize,
    /// Message type and content type, each.
    pub name: usize,
    /// Number of headers.
    pub headers: usize,
    /// All header names and values together.
    pub header_bytes: usize,
    /// Payload.
    pub payload: usize,
}

impl Default for Limits {
    /// Payloads up to 1 MiB, which every supported broker takes by default but SQS: there it is 256
    /// KiB, and as much as that if it is configured.
    fn default() -> Self {
        Self {
            topic: 249,
            key: 512,
            name: 255,
            headers: 64,
            header_bytes: 32 * 1024,
            payload: 1024 * 1024,
        }
    }
}

/// Why a message can't be stored. Nothing has been written when this is returned, and the
/// transaction in which it happened stays usable.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// A part that must not be empty is.
    #[error("the {part} is empty")]
    Empty {
        /// Which part.
        part: &'static str,
    },
    /// A part is longer than the limit.
    #[error("the {part} has {actual} {unit}, the limit is {limit}")]
    TooLong {
        /// Which part.
        part: &'static str,
        /// `bytes`, or `entries`.
        unit: &'static str,
        /// How long it is.
        actual: usize,
        /// How long it may be.
        limit: usize,
    },
    /// A part holds a control character that databases and brokers refuse.
    #[error("the {part} contains a {what} at byte {at}")]
    Forbidden {
        /// Which part.
        part: &'static str,
        /// What was found.
        what: &'static str,
        /// Where.
        at: usize,
    },
    /// The event could not be serialised.
    #[error("the event can't be serialised: {reason}")]
    Serialize {
        /// What failed, by its type; not what it said, which may quote the event.
        reason: String,
    },
}

impl Limits {
    /// Checks every part of `message`; the first offence is returned.
    pub fn check(&self, message: &Message) -> Result<(), InvalidMessage> {
        let widest = Self::default();
        text("topic", message.topic(), self.topic.min(widest.topic), true)?;
        if let Some(key) = message.key() {
            text("key", key, self.key.min(widest.key), false)?;
        }
        let name = self.name.min(widest.name);
        if let Some(message_type) = message.message_type() {
            text("message type", message_type, name, true)?;
        }
        text("content type", message.content_type(), name, true)?;
        self.check_headers(message)?;
        length("payload", "bytes", message.payload().len(), self.payload)
    }

    fn check_headers(&self, message: &Message) -> Result<(), InvalidMessage> {
        let headers = message.headers();
        length("header list", "entries", headers.len(), self.headers)?;
        for (name, value) in headers {
            text("header name", name, self.header_bytes, true)?;
            if is_reserved(name) {
                let (part, what) = ("header name", "prefix `outbox-`, which is reserved,");
                return Err(InvalidMessage::Forbidden { part, what, at: 0 });
            }
            forbid("header value", value, &['\0', '\r', '\n'])?;
        }
        let bytes = headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        length("header list", "bytes", bytes, self.header_bytes)
    }
}

/// What the names of headers begin with that adapters of brokers add, in any case.
pub(crate) const RESERVED: &str = "outbox-";

pub(crate) fn is_reserved(name: &str) -> bool {
    name.get(..RESERVED.len()).is_some_and(|start| start.eq_ignore_ascii_case(RESERVED))
}

/// Names may hold no control character at all, keys only no NUL: a key is the user's data.
fn text(part: &'static str, value: &str, limit: usize, name: bool) -> Result<(), InvalidMessage> {
    if value.is_empty() {
        return Err(InvalidMessage::Empty { part });
    }
    length(part, "bytes", value.len(), limit)?;
    forbid(part, value, &['\0'])?;
    match value.find(char::is_control) {
        Some(at) if name => Err(InvalidMessage::Forbidden { part, what: "control character", at }),
        _ => Ok(()),
    }
}

fn forbid(part: &'static str, value: &str, characters: &[char]) -> Result<(), InvalidMessage> {
    let Some(at) = value.find(characters) else { return Ok(()) };
    let what = if value.as_bytes()[at] == 0 { "NUL character" } else { "line break" };
    Err(InvalidMessage::Forbidden { part, what, at })
}

fn length(
    part: &'static str,
    unit: &'static str,
    actual: usize,
    limit: usize,
) -> Result<(), InvalidMessage> {
    if actual > limit {
        return Err(InvalidMessage::TooLong { part, unit, actual, limit });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_inclusive() {
        let limits = Limits { payload: 4, key: 3, ..Limits::default() };
        let message = |key: &str, payload: &str| {
            Message::bytes("t", payload.to_owned()).key(key).build_within(&limits)
        };
        assert!(message("abc", "1234").is_ok());
        assert_eq!(
            message("abcd", "1234").unwrap_err().to_string(),
            "the key has 4 bytes, the limit is 3"
        );
        assert_eq!(
            message("abc", "12345").unwrap_err().to_string(),
            "the payload has 5 bytes, the limit is 4"
        );
    }

    #[test]
    fn column_widths_cannot_be_widened() {
        let wide = Limits { key: 10_000, ..Limits::default() };
        let error = Message::bytes("t", "").key("k".repeat(513)).build_within(&wide).unwrap_err();
        assert_eq!(error.to_string(), "the key has 513 bytes, the limit is 512");
    }

    #[test]
    fn nul_and_line_breaks_are_refused_with_their_place() {
        let key = Message::bytes("t", "").key("a\0b").build().unwrap_err();
        assert_eq!(key.to_string(), "the key contains a NUL character at byte 1");
        let header = Message::bytes("t", "").header("a", "b\r\nc: d").build().unwrap_err();
        assert_eq!(header.to_string(), "the header value contains a line break at byte 1");
        let topic = Message::bytes("a\tb", "").build().unwrap_err();
        assert_eq!(topic.to_string(), "the topic contains a control character at byte 1");
        assert!(Message::bytes("", "").build().is_err());
        assert!(Message::bytes("t", "").key("").build().is_err());
        assert!(Message::bytes("t", "").key("a\nb").build().is_ok(), "a key is the user's data");
    }
}
