//! What is done with arbitrary bytes. The fuzz targets beside this file hand it what they find, the
//! test program `outbox/tests/fuzz` what chance gives, so that it is built and run every day.

use std::time::{Duration, UNIX_EPOCH};

use outbox::{LazyPublisher, Limits, Message, MessageParts, StoreUrl, redact};

use crate::line;

/// Takes bytes as choices, until there are none left.
struct Choices<'a>(&'a [u8]);

/// What an alphabet of bytes doesn't have: characters of two, three and four bytes, such that XML
/// hasn't, that look like blanks or change the direction.
const STRANGE: [&str; 8] =
    ["é", "ключ", "🦀", "\u{fffe}", "\u{a0}", "\u{202e}", "\u{85}", "outbox-"];

impl Choices<'_> {
    fn byte(&mut self) -> u8 {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        first
    }

    fn number(&mut self) -> u64 {
        (0..8).fold(0, |number, _| (number << 8) | u64::from(self.byte()))
    }

    fn bytes(&mut self) -> Vec<u8> {
        let length = usize::from(self.byte()).min(self.0.len());
        let (taken, rest) = self.0.split_at(length);
        self.0 = rest;
        taken.to_vec()
    }

    /// Mostly ASCII, with all of its control characters.
    fn text(&mut self) -> String {
        let one = |byte: u8| match char::from(byte) {
            ascii if byte < 128 => ascii.to_string(),
            _ => STRANGE[usize::from(byte) % STRANGE.len()].to_owned(),
        };
        self.bytes().into_iter().map(one).collect()
    }

    /// No part of a message is there and empty.
    fn optional(&mut self) -> Option<std::sync::Arc<str>> {
        Some(self.text()).filter(|text| !text.is_empty()).map(Into::into)
    }

    fn pairs<T>(&mut self, value: impl Fn(&mut Self) -> T) -> Vec<(String, T)> {
        let count = self.byte() % 8;
        (0..count).map(|_| (self.text(), value(self))).collect()
    }

    /// Such as a program in another language may write; its topic may be a destination anywhere.
    fn message(&mut self) -> Message {
        let topic = if self.byte().is_multiple_of(2) { "orders".to_owned() } else { self.text() };
        Message::restore(MessageParts {
            id: uuid::Uuid::from_u64_pair(self.number(), self.number()),
            topic: topic.into(),
            key: self.optional(),
            message_type: self.optional(),
            content_type: self.optional().unwrap_or_else(|| "a/b".into()),
            payload: self.bytes().into(),
            headers: self.pairs(Self::text),
            created_at: UNIX_EPOCH + Duration::from_micros(self.number() >> 13),
        })
    }
}

/// A message arrives as it was sent, or is refused: nothing in its headers, key, topic or payload
/// becomes anything else on the way.
pub(crate) fn messages(bytes: &[u8]) {
    let message = Choices(bytes).message();
    let _ = Limits::default().check(&message);
    let line = outbox::file::json_line(&message);
    assert!(!line.contains('\n'), "one message is one line");
    let read: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    assert_eq!(read["topic"], message.topic());
    assert_eq!(read["headers"], serde_json::json!(message.headers()));
    for (broker, arrived) in [
        ("Kafka", outbox::kafka::__round_trip(&message)),
        ("NATS", outbox::nats::__round_trip(&message)),
        ("RabbitMQ", outbox::rabbitmq::__round_trip(&message)),
        ("Redis", outbox::redis::__round_trip(&message)),
        ("SQS", outbox::sqs::__round_trip(&message)),
    ] {
        if let Some(arrived) = arrived {
            assert!(
                arrived == message,
                "{broker}: {:?}, {:?} of {:?}, {:?}",
                arrived.parts(),
                arrived.headers(),
                message.parts(),
                message.headers()
            );
        }
    }
}

/// What arrives from elsewhere is read, whatever it is.
pub(crate) fn arrivals(bytes: &[u8]) {
    let mut choices = Choices(bytes);
    let names = ["outbox-id", "outbox-headers", "outbox-header-names", "outbox-created-at"];
    let mut fields = choices.pairs(Choices::bytes);
    for name in names.iter().take(usize::from(choices.byte() % 5)) {
        fields.push(((*name).to_owned(), choices.bytes()));
    }
    let payload = choices.bytes();
    kafka(&fields, &payload);
    nats(&fields, &payload);
    rabbitmq(&fields, &payload);
    redis(&fields, &payload);
    sqs(&fields, &payload);
}

fn kafka(fields: &[(String, Vec<u8>)], payload: &[u8]) {
    use rdkafka::message::{Header, OwnedHeaders, OwnedMessage};

    let mut headers = OwnedHeaders::new();
    for (name, value) in fields.iter().filter(|(name, _)| !name.contains('\0')) {
        headers = headers.insert(Header { key: name, value: Some(value) });
    }
    let time = rdkafka::Timestamp::NotAvailable;
    let (body, topic) = (Some(payload.to_vec()), "t".to_owned());
    let record = OwnedMessage::new(body.clone(), body, topic, time, 0, 0, Some(headers));
    let _ = (outbox::kafka::message_id(&record), outbox::kafka::__received(&record, "t"));
}

fn nats(fields: &[(String, Vec<u8>)], payload: &[u8]) {
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in fields {
        let value = String::from_utf8_lossy(value).parse::<async_nats::HeaderValue>();
        if let (Ok(name), Ok(value)) = (name.parse::<async_nats::HeaderName>(), value) {
            headers.append(name, value);
        }
    }
    let _ = outbox::nats::__received("t", Some(&headers), payload.to_vec().into());
    let message = async_nats::Message {
        subject: "t".into(),
        reply: None,
        payload: payload.to_vec().into(),
        headers: Some(headers),
        status: None,
        description: None,
        length: 0,
    };
    let _ = outbox::nats::message_id(&message);
}

fn rabbitmq(fields: &[(String, Vec<u8>)], payload: &[u8]) {
    use lapin::types::{AMQPValue, FieldArray, FieldTable, LongString, ShortString};

    let mut table = FieldTable::default();
    for (name, value) in fields {
        let Ok(name) = ShortString::try_new(name.as_str()) else { continue };
        let text = AMQPValue::LongString(LongString::from(value.clone()));
        let array = AMQPValue::FieldArray(FieldArray::from(vec![text.clone(), text.clone()]));
        table.insert(name, if value.len().is_multiple_of(2) { text } else { array });
    }
    let mut properties = lapin::BasicProperties::default().with_headers(table);
    if let Ok(id) = ShortString::try_new(String::from_utf8_lossy(payload).as_ref()) {
        properties = properties.with_message_id(id);
    }
    let _ = outbox::rabbitmq::message_id(&properties);
    let body = payload.to_vec();
    let mut delivery = lapin::message::Delivery::mock(1, "".into(), "t".into(), false, body);
    delivery.properties = properties.with_timestamp(u64::MAX);
    let _ = outbox::rabbitmq::__received("t", delivery);
}

fn redis(fields: &[(String, Vec<u8>)], payload: &[u8]) {
    let pairs = fields.iter().flat_map(|(name, value)| [name.clone().into_bytes(), value.clone()]);
    let _ = outbox::redis::__received("t", pairs.chain([payload.to_vec()]).collect());
    let value = |value: &Vec<u8>| redis::Value::BulkString(value.clone());
    let map = fields.iter().map(|(name, bytes)| (name.clone(), value(bytes))).collect();
    let entry = redis::streams::StreamId { map, ..Default::default() };
    let _ = outbox::redis::message_id(&entry);
}

fn sqs(fields: &[(String, Vec<u8>)], payload: &[u8]) {
    use aws_sdk_sqs::primitives::Blob;
    use aws_sdk_sqs::types::{Message, MessageAttributeValue};

    let mut message = Message::builder().body(String::from_utf8_lossy(payload));
    for (name, value) in fields {
        let builder = MessageAttributeValue::builder();
        let attribute = match std::str::from_utf8(value) {
            Ok(text) => builder.data_type("String").string_value(text),
            Err(_) => builder.data_type("Binary").binary_value(Blob::new(value.clone())),
        };
        let attribute = attribute.build().expect("it has a type");
        message = message.message_attributes(name, attribute);
    }
    let message = message.build();
    let _ = (outbox::sqs::message_id(&message), outbox::sqs::__received("t", &message));
}

/// No URL makes anything panic, and none shows its password, as itself or in what is said of it. A
/// file has none.
pub(crate) fn urls(bytes: &[u8]) {
    const SECRET: &str = "kanari7";
    const SCHEMES: [&str; 11] = [
        "postgres",
        "mysql",
        "sqlite",
        "kafka",
        "nats",
        "tls",
        "amqp",
        "amqps",
        "redis",
        "redis-cluster",
        "sqs",
    ];

    let mut choices = Choices(bytes);
    let scheme = SCHEMES[usize::from(choices.byte()) % SCHEMES.len()];
    let [user, before, behind, place] = [(); 4].map(|()| choices.text());
    // Where `&` ends a value, what follows it is the name of an option, which may be shown.
    let [first, last] = [&before, &behind].map(|part| part.replace('&', ""));
    for url in [
        format!("{scheme}://{user}:{before}{SECRET}{behind}@{place}"),
        format!("{scheme}://{place}?password={first}{SECRET}{last}"),
    ] {
        assert!(!redact(&url).contains(SECRET), "{url}: {}", redact(&url));
        let said = match url.parse::<StoreUrl>() {
            Ok(store) => format!("{store} {store:?}"),
            Err(error) => format!("{error} {error:?} {}", error.remedy()),
        };
        assert!(!said.contains(SECRET), "{url}: {said}");
        let said = match LazyPublisher::new(&url) {
            Ok(publisher) => format!("{publisher:?}"),
            Err(error) => format!("{error} {error:?} {}", error.remedy()),
        };
        assert!(!said.contains(SECRET), "{url}: {said}");
    }
    let anything = choices.text();
    let _ = (redact(&anything), anything.parse::<StoreUrl>(), LazyPublisher::new(&anything));
}

/// Nor does a configuration.
pub(crate) fn configurations(bytes: &[u8]) {
    fn read<T: serde::de::DeserializeOwned + std::fmt::Debug>(bytes: &[u8]) {
        if let Ok(config) = serde_json::from_slice::<T>(bytes) {
            let _ = format!("{config:?}");
        }
    }

    read::<outbox::kafka::KafkaConfig>(bytes);
    read::<outbox::nats::NatsConfig>(bytes);
    read::<outbox::rabbitmq::RabbitMqConfig>(bytes);
    read::<outbox::redis::RedisConfig>(bytes);
    read::<outbox::sqs::SqsConfig>(bytes);
    read::<outbox::broker::Destinations>(bytes);
}

/// A line of input becomes a message that can be stored, or is refused in words of ours.
pub(crate) fn lines(bytes: &[u8]) {
    match line::read(bytes) {
        Ok(Some(message)) => Limits::default().check(&message).expect("it was checked"),
        Ok(None) => {}
        Err(reason) => assert!(reason.is_ascii(), "it quotes the line: {reason}"),
    }
    // As it is written, but for what only a relay knows, it can be read.
    let message = Choices(bytes).message();
    let written = outbox::file::json_line(&message);
    let mut fields: serde_json::Map<String, serde_json::Value> =
        serde_json::from_str(&written).expect("an object");
    fields.remove("id");
    fields.remove("created_at");
    let line = serde_json::to_vec(&fields).expect("JSON");
    if Limits::default().check(&message).is_ok() {
        let read = line::read(&line).expect("it is a line").expect("it isn't blank");
        assert_eq!(read.headers(), message.headers());
        assert_eq!((read.topic(), read.key()), (message.topic(), message.key()));
        assert_eq!(read.content_type(), message.content_type());
    }
}
