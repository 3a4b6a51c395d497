//! Between a message and its form in SQS.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::SystemTime;

use aws_sdk_sqs::primitives::Blob;
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use outbox_core::broker::{
    CONTENT_TYPE, CREATED_AT, Destinations, MESSAGE_ID, MESSAGE_KEY, MESSAGE_TYPE, created_at,
    created_at_micros, reserved,
};
use outbox_core::{Message, MessageParts, Reason};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::config::is_url;
use crate::headers::{HEADERS, Place, place, restored};
use crate::{Body, SqsConfig};

/// How the payload stands in the body, if not as it is: `base64`, or `empty` whatever the body.
pub const BODY_ENCODING: &str = "outbox-body-encoding";

const BASE64: &str = "base64";
const EMPTY: &str = "empty";

const FIFO: &str = ".fifo";

/// More attributes than these SQS doesn't take.
pub(crate) const MOST_ATTRIBUTES: usize = 10;

/// A message in the form in which it is sent.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    /// Name or URL of the queue.
    pub(crate) queue: Arc<str>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) body: String,
    pub(crate) attributes: Vec<(String, MessageAttributeValue)>,
    /// Group and deduplication id, in a FIFO queue.
    pub(crate) fifo: Option<(String, String)>,
}

impl Outgoing {
    /// The reason is why the message can never be sent.
    pub(crate) fn of(message: &Message, config: &SqsConfig) -> Result<Self, Reason> {
        if let Some(reason) = reserved(message) {
            return Err(reason);
        }
        let queue = queue(&config.destination, message.topic())?;
        let (body, encoding) = match text(message.payload()) {
            Some(text) => (text.to_owned(), ""),
            None if config.body == Body::Reject => {
                let says = "SQS takes no payload that is empty, no UTF-8, or has characters that \
                            XML hasn't, and the option `body` is `reject`";
                return Err(says.into());
            }
            // Base64 of nothing is nothing, which SQS doesn't take either.
            None if message.payload().is_empty() => (EMPTY.to_owned(), EMPTY),
            None => (STANDARD.encode(message.payload()), BASE64),
        };
        let own = [
            (MESSAGE_ID, &*message.id().to_string()),
            (CREATED_AT, &created_at_micros(message).to_string()),
            (CONTENT_TYPE, message.content_type()),
            (MESSAGE_KEY, message.key().unwrap_or_default()),
            (MESSAGE_TYPE, message.message_type().unwrap_or_default()),
            (BODY_ENCODING, encoding),
        ];
        let mut attributes: Vec<_> = own
            .into_iter()
            .filter(|(_, value)| !value.is_empty())
            .map(|(name, value)| (name.to_owned(), attribute(value)))
            .collect();
        match place(message.headers(), MOST_ATTRIBUTES - attributes.len()) {
            Place::Attributes(headers) => attributes
                .extend(headers.iter().map(|(name, value)| (name.clone(), attribute(value)))),
            Place::Together { all, trace } => {
                attributes.push((HEADERS.to_owned(), attribute(&all)));
                attributes.extend(trace.map(|(name, value)| (name.clone(), attribute(value))));
            }
        }
        let fifo = is_fifo(&queue).then(|| {
            let id = message.id().to_string();
            (message.key().map_or_else(|| id.clone(), group), id)
        });
        let outgoing = Self { queue, key: message.parts().key.clone(), body, attributes, fifo };
        let size = outgoing.size();
        if size > config.max_bytes {
            let max = config.max_bytes;
            let says = format!("the message has {size} bytes, the option `max_bytes` is {max}");
            return Err(says.into());
        }
        Ok(outgoing)
    }

    /// In bytes, as SQS counts them.
    pub(crate) fn size(&self) -> usize {
        let value = |value: &MessageAttributeValue| {
            let text = value.string_value().map_or(0, str::len);
            let binary = value.binary_value().map_or(0, |binary| binary.as_ref().len());
            value.data_type().len() + text + binary
        };
        let attributes = self.attributes.iter().map(|(name, of)| name.len() + value(of));
        self.body.len() + attributes.sum::<usize>()
    }

    /// As an entry of a request, under an id of its own there.
    pub(crate) fn entry(self, id: usize) -> SendMessageBatchRequestEntry {
        let (group, deduplication) = self.fifo.unzip();
        SendMessageBatchRequestEntry::builder()
            .id(id.to_string())
            .message_body(self.body)
            .set_message_attributes(Some(self.attributes.into_iter().collect()))
            .set_message_group_id(group)
            .set_message_deduplication_id(deduplication)
            .build()
            .expect("it has an id and a body")
    }
}

/// The queue of a topic: its name, or its URL.
pub(crate) fn queue(destinations: &Destinations, topic: &str) -> Result<Arc<str>, &'static str> {
    let Some(queue) = destinations.of(topic) else {
        return Err("the topic has no destination: add it to the table `destination`");
    };
    let name = queue.strip_suffix(FIFO).unwrap_or(&queue);
    let named = !name.is_empty()
        && queue.len() <= 80
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
    if !named && !is_url(&queue) {
        return Err("an SQS queue's name has at most 80 characters, which are letters, digits, \
                    `-` and `_`, and may end with `.fifo`: map the topic by `destination`");
    }
    Ok(queue.into())
}

/// A name says of what kind a queue is, and case matters.
pub(crate) fn is_fifo(queue: &str) -> bool {
    queue.strip_suffix(FIFO).is_some()
}

/// The payload, if it can be a body as it is.
fn text(payload: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(payload).ok()?;
    (!text.is_empty() && is_xml(text)).then_some(text)
}

/// Whether all characters are such as SQS takes, which are those of XML 1.0.
fn is_xml(text: &str) -> bool {
    let allowed = |c| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
    text.chars().all(allowed)
}

/// Text as it is where SQS takes it, else its bytes.
fn attribute(value: &str) -> MessageAttributeValue {
    let builder = MessageAttributeValue::builder();
    let builder = if is_xml(value) {
        builder.data_type("String").string_value(value)
    } else {
        builder.data_type("Binary").binary_value(Blob::new(value))
    };
    builder.build().expect("it has a type")
}

/// The group of a key: the key itself where it can be one.
fn group(key: &str) -> String {
    let fits = (1..=128).contains(&key.len()) && key.chars().all(|c| c.is_ascii_graphic());
    if fits {
        return key.to_owned();
    }
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(key) {
        write!(hex, "{byte:02x}").expect("a string takes all that is written");
    }
    hex
}

/// The id that an outbox gave a message: what an inbox tells duplicates by. `None` if it has
/// none: it comes from elsewhere, or was received without asking for attributes
/// (`message_attribute_names("All")`).
pub fn message_id(message: &aws_sdk_sqs::types::Message) -> Option<&str> {
    message.message_attributes()?.get(MESSAGE_ID)?.string_value()
}

/// The message that arrived, under the topic that it was read for.
pub fn received(topic: &str, received: &aws_sdk_sqs::types::Message) -> Message {
    let attributes: BTreeMap<String, String> = received
        .message_attributes()
        .into_iter()
        .flatten()
        .map(|(name, value)| (name.clone(), value_of(value)))
        .collect();
    let part = |name: &str| attributes.get(name).map(String::as_str);
    let id = part(MESSAGE_ID).and_then(|id| Uuid::parse_str(id).ok());
    Message::restore(MessageParts {
        id: id.unwrap_or_else(Uuid::now_v7),
        topic: topic.into(),
        key: part(MESSAGE_KEY).map(Into::into),
        message_type: part(MESSAGE_TYPE).map(Into::into),
        content_type: part(CONTENT_TYPE).unwrap_or("application/octet-stream").into(),
        payload: payload(received.body().unwrap_or_default(), part(BODY_ENCODING)),
        headers: restored(&attributes),
        created_at: part(CREATED_AT).and_then(created_at).unwrap_or_else(SystemTime::now),
    })
}

fn value_of(value: &MessageAttributeValue) -> String {
    let binary = || value.binary_value().map(|bytes| String::from_utf8_lossy(bytes.as_ref()));
    value.string_value().map_or_else(|| binary().unwrap_or_default().into_owned(), str::to_owned)
}

/// What doesn't decode is left as it is.
fn payload(body: &str, encoding: Option<&str>) -> Bytes {
    let decoded = match encoding {
        Some(EMPTY) => Some(Vec::new()),
        Some(BASE64) => STANDARD.decode(body).ok(),
        _ => None,
    };
    decoded.unwrap_or_else(|| body.as_bytes().to_vec()).into()
}

/// What a consumer reads of `message`, without a broker in between; `None` if no broker is given it.
/// Not for users: tests and fuzzers of all adapters call it so.
pub fn round_trip(message: &Message) -> Option<Message> {
    let sent = Outgoing::of(message, &SqsConfig::new("us-east-1")).ok()?;
    Some(received(message.topic(), &arrived(sent)))
}

fn arrived(outgoing: Outgoing) -> aws_sdk_sqs::types::Message {
    aws_sdk_sqs::types::Message::builder()
        .body(outgoing.body)
        .set_message_attributes(Some(outgoing.attributes.into_iter().collect()))
        .build()
}

#[cfg(test)]
mod tests {
    use outbox_core::{Limits, MessageBuilder};

    use super::*;

    fn config() -> SqsConfig {
        SqsConfig::new("us-east-1")
    }

    fn outgoing(message: &Message) -> Outgoing {
        Outgoing::of(message, &config()).unwrap()
    }

    fn names(outgoing: &Outgoing) -> Vec<&str> {
        outgoing.attributes.iter().map(|(name, _)| name.as_str()).collect()
    }

    #[test]
    fn the_id_of_a_message_is_read() {
        let message = Message::bytes("t", "x").build().unwrap();
        let ours = arrived(outgoing(&message));
        assert_eq!(message_id(&ours), Some(&*message.id().to_string()));
        assert_eq!(message_id(&aws_sdk_sqs::types::Message::builder().build()), None);
    }

    #[test]
    fn what_goes_out_comes_in() {
        for payload in
            [&b"text \xe2\x9c\x93\r\n\t"[..], b"", b"\x00\xff", b"a\x0bb", b"\xef\xbf\xbf"]
        {
            let message = Message::bytes("t", payload.to_vec())
                .key("a\u{1}b")
                .message_type("type")
                .content_type("text/plain")
                .header("z", "\u{fffe}")
                .header("a", "")
                .created_at(SystemTime::UNIX_EPOCH)
                .build()
                .unwrap();
            assert!(received("t", &arrived(outgoing(&message))) == message, "{payload:?}");
        }
        let foreign = aws_sdk_sqs::types::Message::builder().body("x").build();
        let foreign = received("t", &foreign);
        assert_eq!((foreign.payload().as_ref(), foreign.key()), (&b"x"[..], None));
    }

    #[test]
    fn bodies_are_text_where_they_can_be() {
        let body = |payload: &'static [u8]| {
            let outgoing = outgoing(&Message::bytes("t", payload).build().unwrap());
            let encoded = names(&outgoing).contains(&BODY_ENCODING);
            (outgoing.body, encoded)
        };
        assert_eq!(body(b"{\"a\":\n1}\x7f"), ("{\"a\":\n1}\x7f".to_owned(), false));
        assert_eq!(body(b"\xff"), ("/w==".to_owned(), true));
        assert_eq!(body(b"\0"), ("AA==".to_owned(), true));
        assert_eq!(body(b""), ("empty".to_owned(), true));
        let reject = SqsConfig { body: Body::Reject, ..config() };
        for (payload, taken) in [("text", true), ("", false), ("a\u{8}", false)] {
            let message = Message::bytes("t", payload).build().unwrap();
            assert_eq!(Outgoing::of(&message, &reject).is_ok(), taken, "{payload:?}");
        }
    }

    #[test]
    fn keys_are_groups_where_they_can_be() {
        let fifo = |key: Option<&str>| {
            let builder = Message::bytes("t.fifo", "x");
            let message = key.into_iter().fold(builder, MessageBuilder::key).build().unwrap();
            (outgoing(&message).fifo.unwrap(), message.id().to_string())
        };
        for key in ["customer-7", "a/b+c=d?", &"k".repeat(128)] {
            let (of, id) = fifo(Some(key));
            assert_eq!(of, (key.to_owned(), id));
        }
        let ((group, deduplication), id) = fifo(None);
        assert_eq!((&group, &deduplication), (&id, &id));
        let hash = "8fa3aab2faa9b79e0a0398da5b5abd0780142442a5be80b9a64608d718cb1fcd";
        assert_eq!(fifo(Some("a key")).0.0, hash);
        for key in ["ключ", "a\nb", &"k".repeat(129)] {
            assert_eq!(fifo(Some(key)).0.0.len(), 64, "{key}");
        }
        assert_eq!(outgoing(&Message::bytes("t", "x").key("k").build().unwrap()).fifo, None);
    }

    /// Seen to fail when `MOST_ATTRIBUTES` is 11.
    #[test]
    fn no_message_has_more_than_ten_attributes() {
        for count in 0..=64 {
            let builder = Message::bytes("t", "").key("k").message_type("t");
            let message = (0..count).fold(builder, |b, n| b.header(format!("h{n:02}"), "v"));
            let message = message.build().unwrap();
            let outgoing = outgoing(&message);
            assert!(outgoing.attributes.len() <= 10, "{count}: {:?}", names(&outgoing));
            assert_eq!(names(&outgoing).contains(&HEADERS), count > 4, "{count}");
            assert!(received("t", &arrived(outgoing)).headers() == message.headers());
        }
    }

    #[test]
    fn the_limit_is_that_of_all_parts() {
        let of_size = |size: usize| {
            let limits = Limits { payload: size, ..Limits::default() };
            let message = Message::bytes("t", "x".repeat(size)).key("k").build_within(&limits);
            Outgoing::of(&message.unwrap(), &config())
        };
        let beside = outgoing(&Message::bytes("t", "x").key("k").build().unwrap()).size() - 1;
        assert_eq!(of_size(262_144 - beside).unwrap().size(), 262_144);
        let reason = of_size(262_145 - beside).unwrap_err();
        assert!(reason.as_str().contains("has 262145 bytes, the option `max_bytes` is 262144"));
    }

    #[test]
    fn queues_are_names_or_urls() {
        let table = Destinations::table([("known".to_owned(), "orders".to_owned())]);
        assert_eq!(queue(&table, "known").as_deref(), Ok("orders"));
        assert!(queue(&table, "unknown").is_err());
        let identity = Destinations::identity();
        for bad in ["", "a.b", ".fifo", "a.fifo.fifo", "ü", "a b", "ftp://h/q", &"a".repeat(81)] {
            assert!(queue(&identity, bad).is_err(), "{bad}");
        }
        let url = "https://sqs.eu-central-1.amazonaws.com/000000000000/orders.fifo";
        for good in ["a", "A-b_1", "a.fifo", url, &"a".repeat(80)] {
            assert_eq!(queue(&identity, good).as_deref(), Ok(good));
        }
    }
}
