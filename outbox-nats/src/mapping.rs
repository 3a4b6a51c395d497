//! Between a message and its form in NATS.

use std::borrow::Cow;
use std::collections::HashMap;

use async_nats::header::{NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, NATS_MESSAGE_ID};
use async_nats::{HeaderMap, HeaderName, HeaderValue};
use bytes::Bytes;
use outbox_core::broker::{
    CONTENT_TYPE, CREATED_AT, Destinations, MESSAGE_KEY, MESSAGE_TYPE, created_at,
    created_at_micros, reserved,
};
use outbox_core::{Message, MessageParts, Reason};
use percent_encoding::{AsciiSet, CONTROLS, percent_decode_str, utf8_percent_encode};
use uuid::Uuid;

/// What of the headers the header section of NATS can't say: see the crate's documentation.
pub const HEADERS: &str = "outbox-headers";

/// A message in the form in which it is sent.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) subject: String,
    pub(crate) headers: HeaderMap,
    pub(crate) payload: Bytes,
    /// What the server's limit counts: header section and payload, in bytes.
    pub(crate) size: usize,
}

/// Of which subject it is that the last sequence is expected; without it, of the message's own.
const EXPECTED_SUBJECT: &str = "Nats-Expected-Last-Subject-Sequence-Subject";

/// JetStream keeps the length of the header section in 16 bits.
const MOST_HEADER_BYTES: usize = 65_535;

impl Outgoing {
    /// The reason is why the message can never be sent.
    pub(crate) fn of(message: &Message, destinations: &Destinations) -> Result<Self, Reason> {
        if let Some(reason) = reserved(message) {
            return Err(reason);
        }
        let subject = subject(destinations, message.topic())?;
        let headers = headers(message)?;
        let bytes = header_bytes(&headers);
        if bytes > MOST_HEADER_BYTES {
            return Err("the headers are larger than the 64 KiB that JetStream takes".into());
        }
        let payload = message.payload().clone();
        Ok(Self { subject, headers, size: bytes + payload.len(), payload })
    }

    /// The server takes it only if that is the sequence of the last message of `subject` in the
    /// stream.
    pub(crate) fn expecting(mut self, subject: &str, sequence: u64) -> Self {
        self.headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, sequence.to_string());
        self.headers.insert(EXPECTED_SUBJECT, subject);
        self.size = header_bytes(&self.headers) + self.payload.len();
        self
    }

    pub(crate) fn key(&self) -> Option<&str> {
        self.headers.get(MESSAGE_KEY).map(HeaderValue::as_str)
    }
}

/// The subject of a topic, if it is one to publish to.
pub(crate) fn subject(destinations: &Destinations, topic: &str) -> Result<String, &'static str> {
    let Some(subject) = destinations.of(topic) else {
        return Err("the topic has no destination: add it to the table `destination`");
    };
    if !is_plain(&subject) {
        return Err("a NATS subject to publish to has no spaces, no control characters, no empty \
                    parts and no wildcards");
    }
    // Whoever may write a row must not thereby command the server.
    if ["$JS", "$SYS"].contains(&subject.split('.').next().unwrap_or_default()) {
        return Err("subjects below `$JS` and `$SYS` are the server's own");
    }
    Ok(subject.into_owned())
}

/// Whether a subject can be published to, as far as its form goes.
pub(crate) fn is_plain(subject: &str) -> bool {
    let bad = |c: char| c.is_whitespace() || c.is_control();
    !subject.contains(bad) && !subject.split('.').any(|part| matches!(part, "" | "*" | ">"))
}

fn headers(message: &Message) -> Result<HeaderMap, Reason> {
    let mut map = HeaderMap::new();
    map.insert(NATS_MESSAGE_ID, message.id().to_string());
    map.insert(CREATED_AT, created_at_micros(message).to_string());
    map.insert(CONTENT_TYPE, &*encoded(message.content_type()));
    if let Some(key) = message.key() {
        map.insert(MESSAGE_KEY, &*encoded(key));
    }
    if let Some(message_type) = message.message_type() {
        map.insert(MESSAGE_TYPE, &*encoded(message_type));
    }
    for (name, value) in message.headers() {
        if name.is_empty() || name.contains(|c: char| !c.is_ascii_graphic() || c == ':') {
            return Err("a NATS header's name is of visible ASCII without colons".into());
        }
        if name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("nats-")) {
            return Err("headers named `Nats-…` are the server's own".into());
        }
        if value.contains(['\r', '\n', '\0']) {
            return Err("a NATS header's value has no line breaks and no NUL".into());
        }
        map.append(name.as_str(), value.as_str());
    }
    if let Some(exact) = exact(message.headers()) {
        map.insert(HEADERS, exact);
    }
    Ok(map)
}

fn header_bytes(map: &HeaderMap) -> usize {
    let pairs = map.iter().flat_map(|(name, values)| values.iter().map(move |v| (name, v)));
    let length = |name: &HeaderName| AsRef::<str>::as_ref(name).len();
    let lines: usize = pairs.map(|(n, v)| length(n) + v.as_str().len() + 4).sum();
    "NATS/1.0\r\n\r\n".len() + lines
}

/// All that stands in a header of ours and would not survive there, or would look encoded.
const ENCODED: &AsciiSet = &CONTROLS.add(b' ').add(b'%').add(b'=');

/// Text in a header of ours: as it stands where that is possible, which it mostly is.
fn encoded(text: &str) -> Cow<'_, str> {
    let plain = !text.contains(|c: char| c == '%' || c.is_control()) && text.trim() == text;
    if plain { Cow::Borrowed(text) } else { utf8_percent_encode(text, ENCODED).into() }
}

fn decoded(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// The headers of a NATS message are a map from names to lists of values, whose ends clients trim.
/// Returns what is lost by that: the names in their order, and each value that was trimmed.
fn exact(headers: &[(String, String)]) -> Option<String> {
    let trimmed = |value: &str| value.trim() != value;
    let sorted = headers.is_sorted_by_key(|(name, _)| name);
    if sorted && !headers.iter().any(|(_, value)| trimmed(value)) {
        return None;
    }
    let items: Vec<_> = headers
        .iter()
        .map(|(name, value)| {
            let name = utf8_percent_encode(name, ENCODED).to_string();
            if !trimmed(value) {
                return name;
            }
            format!("{name}={}", utf8_percent_encode(value, ENCODED))
        })
        .collect();
    Some(items.join(" "))
}

/// The headers as they were enqueued.
fn restored(map: &HeaderMap) -> Vec<(String, String)> {
    let foreign = |name: &str| !name.starts_with("outbox-") && !name.starts_with("Nats-");
    let mut names: Vec<_> = map.iter().map(|(name, _)| name.to_string()).collect();
    names.retain(|name| foreign(name));
    names.sort_unstable();
    let values = |name: &String| {
        let values = map.get_all(name.as_str()).map(ToString::to_string);
        values.map(|value| (name.clone(), value)).collect::<Vec<_>>()
    };
    let Some(exact) = map.get(HEADERS) else {
        return names.iter().flat_map(values).collect();
    };
    let mut left: HashMap<_, _> =
        names.iter().map(|name| (name.clone(), values(name).into_iter())).collect();
    let items = exact.as_str().split(' ').filter_map(|item| {
        let (name, value) = item.split_once('=').map_or((item, None), |(n, v)| (n, Some(v)));
        let name = decoded(name);
        let (_, carried) = left.get_mut(&name)?.next()?;
        Some((name, value.map_or(carried, decoded)))
    });
    items.collect()
}

/// The id that an outbox gave a message: what an inbox tells duplicates by. `None` if it has
/// none: it comes from elsewhere.
pub fn message_id(message: &async_nats::Message) -> Option<&str> {
    message.headers.as_ref()?.get(NATS_MESSAGE_ID).map(HeaderValue::as_str)
}

/// The message that arrived, under the topic that it was read for.
pub fn received(topic: &str, headers: Option<&HeaderMap>, payload: Bytes) -> Message {
    let none = HeaderMap::new();
    let map = headers.unwrap_or(&none);
    let text = |name: &str| map.get(name).map(|value| decoded(value.as_str()));
    let id = map.get(NATS_MESSAGE_ID).and_then(|id| Uuid::parse_str(id.as_str()).ok());
    let created = map.get(CREATED_AT).and_then(|micros| created_at(micros.as_str()));
    Message::restore(MessageParts {
        id: id.unwrap_or_else(Uuid::now_v7),
        topic: topic.into(),
        key: text(MESSAGE_KEY).map(Into::into),
        message_type: text(MESSAGE_TYPE).map(Into::into),
        content_type: text(CONTENT_TYPE).map_or("application/octet-stream".into(), Into::into),
        payload,
        headers: restored(map),
        created_at: created.unwrap_or_else(std::time::SystemTime::now),
    })
}

/// What a consumer reads of `message`, without a broker in between; `None` if no broker is given it.
/// Not for users: tests and fuzzers of all adapters call it so.
pub fn round_trip(message: &Message) -> Option<Message> {
    let sent = Outgoing::of(message, &Destinations::identity()).ok()?;
    Some(received(message.topic(), Some(&sent.headers), sent.payload))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn outgoing(message: &Message) -> Result<Outgoing, Reason> {
        Outgoing::of(message, &Destinations::identity())
    }

    fn with_header(name: &str, value: &str) -> Message {
        let mut parts = Message::bytes("t", "").build().unwrap().parts().clone();
        parts.headers = vec![(name.to_owned(), value.to_owned())];
        Message::restore(parts)
    }

    #[test]
    fn a_message_survives_the_way_there_and_back() {
        let micros = UNIX_EPOCH + Duration::from_micros(1_750_946_400_123_456);
        let full = Message::bytes("orders.eu", vec![0, 255])
            .key("50% of\nключ ")
            .message_type("order.placed")
            .content_type("text/plain; charset=utf-8")
            .header("zone", "eu")
            .header("A", " padded\u{a0}")
            .header("zone", "")
            .header("100%=", "a=b c")
            .created_at(micros)
            .build()
            .unwrap();
        let bare = Message::bytes("t", "").created_at(micros).build().unwrap();
        for message in [full, bare] {
            let sent = outgoing(&message).unwrap();
            let back = received(message.topic(), Some(&sent.headers), sent.payload);
            assert!(back == message, "{:?}", sent.headers);
        }
    }

    #[test]
    fn the_id_of_a_message_is_read() {
        let message = Message::bytes("t", "").build().unwrap();
        let with = |headers| async_nats::Message {
            subject: "t".into(),
            reply: None,
            payload: Bytes::new(),
            headers,
            status: None,
            description: None,
            length: 0,
        };
        let ours = with(Some(outgoing(&message).unwrap().headers));
        assert_eq!(message_id(&ours), Some(&*message.id().to_string()));
        assert_eq!(message_id(&with(None)), None);
        assert_eq!(message_id(&with(Some(HeaderMap::new()))), None);
    }

    #[test]
    fn what_needs_no_encoding_has_none() {
        let message = Message::bytes("t", "").key("ключ 7").content_type("a/b; c=d");
        let message = message.header("a", "1").header("a", "2").header("b", "3").build().unwrap();
        let headers = outgoing(&message).unwrap().headers;
        assert_eq!(headers.get("outbox-key").unwrap().as_str(), "ключ 7");
        assert_eq!(headers.get("outbox-content-type").unwrap().as_str(), "a/b; c=d");
        assert!(headers.get("outbox-headers").is_none());
    }

    #[test]
    fn the_order_of_names_and_trimmed_values_stand_in_a_header() {
        let message = Message::bytes("t", "").header("b", "1").header("a", "2 ").build().unwrap();
        let headers = outgoing(&message).unwrap().headers;
        assert_eq!(headers.get("outbox-headers").unwrap().as_str(), "b a=2%20");
    }

    #[test]
    fn a_message_that_no_outbox_sent_has_what_parts_there_are() {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Msg-Id", "no uuid");
        headers.insert("b", "2");
        headers.insert("a", "1");
        let message = received("t", Some(&headers), "x".into());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(message.headers(), [pair("a", "1"), pair("b", "2")]);
        assert_eq!((message.key(), message.content_type()), (None, "application/octet-stream"));
        assert_eq!(received("t", None, "x".into()).payload(), "x");
    }

    #[test]
    fn headers_that_nats_cannot_carry_are_refused() {
        for (name, value) in [
            ("a:b", ""),
            ("a b", ""),
            ("ä", ""),
            ("", ""),
            ("Nats-Rollup", "all"),
            ("nats-ttl", "1s"),
            ("OUTBOX-ID", ""),
            ("a", "b\r\nNats-Rollup: all"),
            ("a", "\0"),
            ("a", &"x".repeat(65_500)),
        ] {
            assert!(outgoing(&with_header(name, value)).is_err(), "{name}");
        }
        assert!(outgoing(&with_header("natsy", "ä = 'b'; c")).is_ok());
        assert!(outgoing(&with_header("a", &"x".repeat(65_000))).is_ok());
    }

    #[test]
    fn subjects_that_nobody_may_publish_to_are_refused() {
        let table = Destinations::table([("known".to_owned(), "orders".to_owned())]);
        assert_eq!(subject(&table, "known"), Ok("orders".to_owned()));
        assert!(subject(&table, "unknown").is_err());
        let identity = Destinations::identity();
        for bad in ["a b", "a\tb", "a..b", ".a", "a.", "", "a.*", ">", "$JS.API.INFO", "$SYS.x"] {
            assert!(subject(&identity, bad).is_err(), "{bad}");
        }
        for good in ["a", "a.b-c_d", "ü.$x", "a*b", "$KV.bucket.key"] {
            assert_eq!(subject(&identity, good).as_deref(), Ok(good));
        }
    }
}
