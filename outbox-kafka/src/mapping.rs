//! A message as a record of Kafka, and back.

use std::borrow::Cow;
use std::time::{SystemTime, UNIX_EPOCH};

use outbox_core::broker::{CONTENT_TYPE, CREATED_AT, MESSAGE_ID, MESSAGE_TYPE};
use outbox_core::{Message, MessageParts, Reason, broker};
use rdkafka::message::{Header, Headers, OwnedHeaders, OwnedMessage};
use rdkafka::producer::BaseRecord;
use uuid::Uuid;
use uuid::fmt::Hyphenated;

/// The id that an outbox gave a message: what an inbox tells duplicates by. `None` if the record has none, or
/// one that is no text: it comes from elsewhere.
pub fn message_id(record: &impl rdkafka::Message) -> Option<&str> {
    let header = record.headers()?.iter().find(|header| header.key == MESSAGE_ID)?;
    std::str::from_utf8(header.value?).ok()
}

/// The record of `message` in the Kafka topic `topic`, which carries `index` to its report. It was
/// made `now` at the latest.
pub(crate) fn record<'a>(
    message: &'a Message,
    topic: &'a str,
    index: usize,
    now: SystemTime,
) -> BaseRecord<'a, [u8], [u8], usize> {
    let mut headers = OwnedHeaders::new_with_capacity(message.headers().len() + 4);
    for (key, value) in all_headers(message) {
        headers = headers.insert(Header { key, value: Some(value.as_ref()) });
    }
    let mut record = BaseRecord::with_opaque_to(topic, index)
        .payload(message.payload().as_ref())
        .timestamp(timestamp(message, now))
        .headers(headers);
    record.key = message.key().map(str::as_bytes);
    record
}

/// Why `message` can't be a record in `topic`, if it can't.
pub(crate) fn unfit(message: &Message, topic: &str, max_bytes: u32) -> Option<Reason> {
    if !is_topic(topic) {
        let rule = "letters, digits, `.`, `_` and `-`, at most 249";
        return Some(Reason::new(format!("`{topic}` can't be the name of a Kafka topic: {rule}")));
    }
    if message.headers().iter().any(|(name, _)| name.contains('\0')) {
        return Some("the name of a header contains a NUL character".into());
    }
    let (bytes, max) = (wire_size(message), max_bytes as usize);
    (bytes > max).then(|| {
        Reason::new(format!("the record has {bytes} bytes, and `max_message_bytes` is {max}"))
    })
}

/// The message that was published as `record`; `topic` is the one that it was published to.
pub fn message(record: &impl rdkafka::Message, topic: &str) -> Message {
    let mut parts = MessageParts {
        id: Uuid::now_v7(),
        topic: topic.into(),
        key: record.key().map(|key| text(key).into()),
        message_type: None,
        content_type: "application/octet-stream".into(),
        payload: record.payload().unwrap_or_default().to_vec().into(),
        headers: Vec::new(),
        created_at: record.timestamp().to_millis().map_or_else(SystemTime::now, moment),
    };
    for header in record.headers().into_iter().flat_map(Headers::iter) {
        let value = text(header.value.unwrap_or_default());
        match header.key {
            MESSAGE_ID => parts.id = value.parse().unwrap_or(parts.id),
            MESSAGE_TYPE => parts.message_type = Some(value.into()),
            CONTENT_TYPE => parts.content_type = value.into(),
            CREATED_AT => parts.created_at = broker::created_at(&value).unwrap_or(parts.created_at),
            name => parts.headers.push((name.to_owned(), value.into_owned())),
        }
    }
    Message::restore(parts)
}

/// Ours first, then the user's in their order.
fn all_headers(message: &Message) -> impl Iterator<Item = (&str, Cow<'_, str>)> {
    let ours = [
        (MESSAGE_ID, Some(Cow::Owned(message.id().to_string()))),
        (MESSAGE_TYPE, message.message_type().map(Cow::Borrowed)),
        (CONTENT_TYPE, Some(Cow::Borrowed(message.content_type()))),
        (CREATED_AT, Some(Cow::Owned(broker::created_at_micros(message).to_string()))),
    ];
    let ours = ours.into_iter().filter_map(|(name, value)| Some((name, value?)));
    let theirs = message.headers().iter();
    ours.chain(theirs.map(|(name, value)| (name.as_str(), Cow::Borrowed(value.as_str()))))
}

/// Milliseconds since the epoch, and now at the latest: brokers refuse what is ahead of their
/// clock, and it would be rejected though it is good in an hour. To librdkafka 0 means now. The
/// header knows better.
fn timestamp(message: &Message, now: SystemTime) -> i64 {
    let now = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let now = i64::try_from(now).unwrap_or(i64::MAX);
    i64::try_from(broker::created_at_micros(message) / 1000).unwrap_or(i64::MAX).min(now)
}

fn moment(millis: i64) -> SystemTime {
    let since = std::time::Duration::from_millis(u64::try_from(millis).unwrap_or_default());
    UNIX_EPOCH.checked_add(since).unwrap_or(UNIX_EPOCH)
}

/// What librdkafka and the broker count, at most.
fn wire_size(message: &Message) -> usize {
    /// The lengths and deltas of a record in the second version of the format.
    const OVERHEAD: usize = 36;
    let micros = broker::created_at_micros(message);
    // As in `all_headers`, but that nothing is written only to be measured.
    let ours = [
        (MESSAGE_ID, Some(Hyphenated::LENGTH)),
        (MESSAGE_TYPE, message.message_type().map(str::len)),
        (CONTENT_TYPE, Some(message.content_type().len())),
        (CREATED_AT, Some(1 + micros.checked_ilog10().unwrap_or(0) as usize)),
    ];
    let ours = ours.into_iter().filter_map(|(name, value)| Some((name.len(), value?)));
    let theirs = message.headers().iter().map(|(name, value)| (name.len(), value.len()));
    let headers = ours.chain(theirs).map(|(name, value)| sized(name) + sized(value));
    OVERHEAD + message.key().map_or(0, str::len) + message.payload().len() + headers.sum::<usize>()
}

/// So many bytes behind their number, which is written with its sign, seven bits to a byte.
fn sized(bytes: usize) -> usize {
    let bits = usize::BITS - (bytes << 1).leading_zeros();
    bits.div_ceil(7).max(1) as usize + bytes
}

fn is_topic(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=249).contains(&name.len()) && name.bytes().all(legal) && name != "." && name != ".."
}

fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// What a consumer reads of `message`, without a broker in between; `None` if no broker is given it.
/// Not for users: tests and fuzzers of all adapters call it so.
pub fn round_trip(message: &Message) -> Option<Message> {
    if unfit(message, message.topic(), u32::MAX).is_some() || broker::reserved(message).is_some() {
        return None;
    }
    let record = record(message, message.topic(), 0, SystemTime::now());
    let [key, payload] = [record.key, record.payload].map(|part| part.map(<[u8]>::to_vec));
    let (topic, time) = (message.topic().to_owned(), rdkafka::Timestamp::NotAvailable);
    let arrived = OwnedMessage::new(payload, key, topic, time, 0, 0, record.headers);
    Some(self::message(&arrived, message.topic()))
}

#[cfg(test)]
mod tests {
    use rdkafka::Timestamp;

    use super::*;
    use crate::client::Client;
    use crate::threads::Living;
    use crate::{KafkaConfig, options};
    use rdkafka::types::RDKafkaErrorCode as Code;

    /// What librdkafka says of a message when its limit is `bytes`.
    fn send(message: &Message, bytes: usize) -> Result<(), Code> {
        let mut config = KafkaConfig::new(["127.0.0.1:1"]);
        config.max_message_bytes = u32::try_from(bytes).unwrap();
        let mut client =
            Client::start(&options::producer(&config, None), &Living::default()).unwrap();
        client.send(message, "orders", 0, SystemTime::now())
    }

    #[test]
    fn the_id_of_a_record_is_read() {
        let message = Message::bytes("orders", "").build().unwrap();
        let headers = record(&message, "orders", 0, SystemTime::now()).headers;
        let with = |headers| {
            OwnedMessage::new(None, None, "t".into(), Timestamp::NotAvailable, 0, 0, headers)
        };
        let ours = with(headers);
        assert_eq!(message_id(&ours), Some(&*message.id().to_string()));
        assert_eq!(message_id(&with(None)), None);
        let broken = Header { key: MESSAGE_ID, value: Some(&b"\xff"[..]) };
        assert_eq!(message_id(&with(Some(OwnedHeaders::new().insert(broken)))), None);
    }

    #[test]
    fn sizes_are_counted_as_librdkafka_counts_them() {
        let bare = Message::bytes("orders", vec![0; 2_000]).build().unwrap();
        let mut full = Message::bytes("orders", vec![0; 20_000])
            .key("customer-7")
            .message_type("order.placed");
        for size in [0, 1, 63, 64, 127, 128, 8_191, 8_192] {
            full = full.header(format!("h{size}"), "v".repeat(size));
        }
        let ancient =
            Message::bytes("orders", vec![0; 2_000]).created_at(UNIX_EPOCH).build().unwrap();
        for message in [bare, full.build().unwrap(), ancient] {
            let bytes = wire_size(&message);
            assert_eq!(send(&message, bytes), Ok(()));
            assert_eq!(send(&message, bytes - 1), Err(Code::MessageSizeTooLarge));
            let limit = |bytes: usize| u32::try_from(bytes).unwrap();
            assert_eq!(unfit(&message, "orders", limit(bytes)), None);
            assert!(unfit(&message, "orders", limit(bytes - 1)).is_some());
        }
    }

    #[test]
    fn no_record_is_ahead_of_the_clock() {
        let at = |seconds| UNIX_EPOCH + std::time::Duration::from_secs(seconds);
        let message = Message::bytes("orders", "").created_at(at(1_000)).build().unwrap();
        assert_eq!(timestamp(&message, at(999)), 999_000);
        assert_eq!(timestamp(&message, at(1_001)), 1_000_000);
    }

    #[test]
    fn names_that_no_topic_can_have_are_known() {
        for name in ["orders", "a.b_c-D9", &"x".repeat(249), "..."] {
            assert!(is_topic(name), "{name}");
        }
        for name in ["", ".", "..", "a b", "a/b", "ö", "a\0", &"x".repeat(250)] {
            assert!(!is_topic(name), "{name}");
        }
    }

    #[test]
    fn a_header_that_librdkafka_would_cut_is_refused() {
        let message = Message::bytes("orders", "").build().unwrap();
        let mut parts = message.parts().clone();
        parts.headers = vec![("a\0b".to_owned(), String::new())];
        let reason = unfit(&Message::restore(parts), "orders", 1_000_000).unwrap();
        assert_eq!(reason.as_str(), "the name of a header contains a NUL character");
    }
}
