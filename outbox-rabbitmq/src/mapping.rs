//! A message in AMQP's form, and back.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, UNIX_EPOCH};

use lapin::BasicProperties;
use lapin::message::Delivery;
use lapin::types::{AMQPValue, FieldArray, FieldTable, ShortString};
use outbox_core::broker::{self, CREATED_AT, MESSAGE_KEY};
use outbox_core::{Message, MessageParts, Reason};
use uuid::Uuid;

/// The header that holds the names of a message's headers as they stood, where the table can't tell.
pub const HEADER_NAMES: &str = "outbox-header-names";

const PERSISTENT: u8 = 2;

/// Headers of these names hold routing keys.
const ROUTING: [&str; 2] = ["CC", "BCC"];

/// A message ready to be sent.
#[derive(Debug)]
pub(crate) struct Letter {
    pub(crate) exchange: ShortString,
    pub(crate) routing_key: ShortString,
    pub(crate) properties: BasicProperties,
    /// Of the content header, which must fit into one frame.
    pub(crate) header_bytes: usize,
}

impl Letter {
    /// An error says why no broker ever takes it.
    pub(crate) fn new(message: &Message, exchange: &str, key: &str) -> Result<Self, Reason> {
        if let Some(reason) = broker::reserved(message) {
            return Err(reason);
        }
        let headers = headers(message)?;
        let id = message.id().to_string();
        let content_type = short("content type", message.content_type())?;
        let micros = broker::created_at_micros(message);
        let kind = message.message_type().map(|kind| short("message type", kind)).transpose()?;
        // Around the properties: the frame, class and weight and flags, the size of the body; then
        // what has a fixed size: delivery mode, timestamp, length of the table.
        let fixed = 8 + 6 + 8 + 1 + 8 + 4;
        let texts = [content_type.as_str(), &id, kind.as_ref().map_or("", ShortString::as_str)];
        let texts: usize = texts.iter().map(|text| 1 + text.len()).sum();
        let mut properties = BasicProperties::default()
            .with_content_type(content_type)
            .with_delivery_mode(PERSISTENT)
            .with_timestamp(micros / 1_000_000)
            .with_message_id(id.into());
        if let Some(kind) = kind {
            properties = properties.with_type(kind);
        }
        Ok(Self {
            exchange: short("exchange", exchange)?,
            routing_key: short("routing key", key)?,
            header_bytes: fixed + texts + table_bytes(&headers),
            properties: properties.with_headers(headers),
        })
    }
}

/// The id that an outbox gave a message: what an inbox tells duplicates by. `None` if it has
/// none: it comes from elsewhere.
pub fn message_id(properties: &BasicProperties) -> Option<&str> {
    properties.message_id().as_ref().map(ShortString::as_str)
}

/// The message that was sent to `topic`. What no outbox sent gets a new id.
pub fn open(topic: &str, delivery: Delivery) -> Message {
    let properties = delivery.properties;
    let table = properties.headers().clone().unwrap_or_default();
    let text = |name: &str| table.inner().get(name).and_then(texts).map(|texts| texts.concat());
    let short = |text: &Option<ShortString>| text.as_ref().map(|text| text.as_str().into());
    let id = properties.message_id().as_ref().and_then(|id| Uuid::parse_str(id.as_str()).ok());
    let seconds = properties.timestamp().unwrap_or_default();
    let created_at = text(CREATED_AT).and_then(|micros| broker::created_at(&micros));
    let at_second = || UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    Message::restore(MessageParts {
        id: id.unwrap_or_else(Uuid::now_v7),
        topic: topic.into(),
        key: text(MESSAGE_KEY).map(Into::into),
        message_type: short(properties.kind()),
        content_type: short(properties.content_type())
            .unwrap_or_else(|| "application/octet-stream".into()),
        headers: pairs(&table),
        created_at: created_at.or_else(at_second).unwrap_or(UNIX_EPOCH),
        payload: delivery.data.into(),
    })
}

fn headers(message: &Message) -> Result<FieldTable, Reason> {
    let mut values: BTreeMap<&str, Vec<AMQPValue>> = BTreeMap::new();
    for (name, value) in message.headers() {
        if ROUTING.contains(&name.as_str()) {
            return Err(Reason::new("RabbitMQ takes headers named CC and BCC for routing keys"));
        }
        values.entry(name).or_default().push(long(value));
    }
    let mut table = FieldTable::default();
    if !message.headers().is_sorted_by_key(|(name, _)| name) {
        let names = message.headers().iter().map(|(name, _)| long(name));
        table.insert(HEADER_NAMES.into(), array(names.collect()));
    }
    for (name, mut values) in values {
        let one = if values.len() == 1 { values.pop() } else { None };
        table.insert(short("name of a header", name)?, one.unwrap_or_else(|| array(values)));
    }
    if let Some(key) = message.key() {
        table.insert(MESSAGE_KEY.into(), long(key));
    }
    let micros = broker::created_at_micros(message).to_string();
    table.insert(CREATED_AT.into(), long(&micros));
    Ok(table)
}

/// The headers of `table` that are no adapter's, in the order in which they were.
fn pairs(table: &FieldTable) -> Vec<(String, String)> {
    let mut values: BTreeMap<&str, VecDeque<String>> = BTreeMap::new();
    for (name, value) in table {
        if ![MESSAGE_KEY, CREATED_AT, HEADER_NAMES].contains(&name.as_str()) {
            // What is no text was put there by somebody else.
            values.insert(name.as_str(), texts(value).unwrap_or_default().into());
        }
    }
    let names = table.inner().get(HEADER_NAMES).and_then(texts).unwrap_or_default();
    let mut pairs = Vec::new();
    for name in names {
        let value = values.get_mut(name.as_str()).and_then(VecDeque::pop_front);
        pairs.extend(value.map(|value| (name, value)));
    }
    for (name, rest) in values {
        pairs.extend(rest.into_iter().map(|value| (name.to_owned(), value)));
    }
    pairs
}

/// One text, or an array of texts.
fn texts(value: &AMQPValue) -> Option<Vec<String>> {
    match value {
        AMQPValue::LongString(text) => Some(vec![text.to_string()]),
        AMQPValue::FieldArray(array) => {
            let texts = array.as_slice().iter().map(texts);
            Some(texts.collect::<Option<Vec<_>>>()?.concat())
        }
        _ => None,
    }
}

fn short(what: &str, text: &str) -> Result<ShortString, Reason> {
    let refuse = |_| Reason::new(format!("the {what} has more than AMQP's 255 bytes"));
    ShortString::try_new(text).map_err(refuse)
}

fn long(text: &str) -> AMQPValue {
    AMQPValue::LongString(text.into())
}

fn array(values: Vec<AMQPValue>) -> AMQPValue {
    AMQPValue::FieldArray(FieldArray::from(values))
}

fn table_bytes(table: &FieldTable) -> usize {
    table.into_iter().map(|(name, value)| 1 + name.as_str().len() + value_bytes(value)).sum()
}

/// With the byte of the type.
fn value_bytes(value: &AMQPValue) -> usize {
    5 + match value {
        AMQPValue::LongString(text) => text.len(),
        AMQPValue::FieldArray(array) => array.as_slice().iter().map(value_bytes).sum(),
        _ => 0,
    }
}

/// What a consumer reads of `message`, without a broker in between; `None` if no broker is given it.
/// Not for users: tests and fuzzers of all adapters call it so.
pub fn round_trip(message: &Message) -> Option<Message> {
    let letter = Letter::new(message, "", message.topic()).ok()?;
    let (exchange, key, body) = (letter.exchange, letter.routing_key, message.payload().to_vec());
    let mut delivery = Delivery::mock(1, exchange, key, false, body);
    delivery.properties = letter.properties;
    Some(open(message.topic(), delivery))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[(&str, &str)]) -> Message {
        let mut parts = Message::bytes("orders", "x").build().unwrap().parts().clone();
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        parts.headers = headers.iter().map(owned).collect();
        Message::restore(parts)
    }

    fn letter(headers: &[(&str, &str)]) -> Result<Letter, Reason> {
        Letter::new(&message(headers), "", "orders")
    }

    #[test]
    fn headers_survive_in_their_order() {
        for headers in [
            &[][..],
            &[("a", "1")],
            &[("a", "1"), ("a", ""), ("b", "2")],
            &[("b", "1"), ("a", "2"), ("b", "3"), ("a", "2")],
        ] {
            let letter = letter(headers).unwrap();
            let table = letter.properties.headers().clone().unwrap();
            assert_eq!(pairs(&table), message(headers).headers());
            let sorted = headers.is_sorted_by_key(|(name, _)| name);
            assert_eq!(table.contains_key(HEADER_NAMES), !sorted);
        }
    }

    #[test]
    fn what_amqp_cannot_carry_is_named() {
        let long = "n".repeat(256);
        for (headers, says) in [
            (&[(long.as_str(), "")][..], "the name of a header has more than AMQP's 255 bytes"),
            (&[("CC", "x")], "RabbitMQ takes headers named CC and BCC for routing keys"),
            (&[("Outbox-Id", "x")], "a header's name begins with `outbox-`, which is reserved"),
        ] {
            assert_eq!(letter(headers).unwrap_err().as_str(), says);
        }
        let key = Letter::new(&message(&[]), "", &long).unwrap_err();
        assert_eq!(key.as_str(), "the routing key has more than AMQP's 255 bytes");
        assert!(letter(&[("cc", "x"), (&long[1..], "")]).is_ok());
    }

    #[test]
    fn the_id_of_a_message_is_read() {
        let message = message(&[]);
        let ours = Letter::new(&message, "", "q").unwrap().properties;
        assert_eq!(message_id(&ours), Some(&*message.id().to_string()));
        assert_eq!(message_id(&BasicProperties::default()), None);
    }

    #[test]
    fn what_others_sent_has_what_parts_there_are() {
        let mut delivery = Delivery::mock(1, "".into(), "q".into(), false, vec![1, 2]);
        let mut table = FieldTable::default();
        table.insert("number".into(), AMQPValue::LongInt(7));
        table.insert("tenant".into(), AMQPValue::LongString("acme".into()));
        let properties = BasicProperties::default().with_message_id("no uuid".into());
        delivery.properties = properties.with_headers(table).with_timestamp(7);
        let message = open("q", delivery);
        assert_eq!(message.headers(), [("tenant".to_owned(), "acme".to_owned())]);
        assert_eq!((message.key(), message.payload().as_ref()), (None, &[1, 2][..]));
        assert_eq!(message.created_at(), UNIX_EPOCH + Duration::from_secs(7));
        assert_eq!(message.content_type(), "application/octet-stream");
    }

    #[test]
    fn sizes_of_headers_are_those_on_the_wire() {
        // Counted by hand: one text, one array of two, the time of creation in 16 digits.
        let letter = letter(&[("a", "1"), ("b", "2"), ("b", "")]).unwrap();
        let created = letter.properties.headers().as_ref().unwrap().inner().get(CREATED_AT);
        assert_eq!(texts(created.unwrap()).unwrap()[0].len(), 16);
        let table = (2 + 5 + 1) + (2 + 5 + (5 + 1) + 5) + (1 + 17 + 5 + 16);
        let texts = 1 + "application/octet-stream".len() + 1 + 36 + 1;
        assert_eq!(letter.header_bytes, 35 + texts + table);
    }
}
