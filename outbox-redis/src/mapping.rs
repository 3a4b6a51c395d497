//! Between a message and an entry of a stream.

use std::time::SystemTime;

use outbox_core::broker::{
    CONTENT_TYPE, CREATED_AT, MESSAGE_ID, MESSAGE_KEY, MESSAGE_TYPE, created_at, created_at_micros,
    reserved,
};
use outbox_core::{Message, MessageParts, Reason};
use redis::{Arg, Cmd};
use uuid::Uuid;

use crate::RedisConfig;

/// The field of the payload.
pub const PAYLOAD: &str = "outbox-payload";

/// The stream of a topic.
pub(crate) fn stream<'a>(
    config: &'a RedisConfig,
    topic: &'a str,
) -> Result<std::borrow::Cow<'a, str>, &'static str> {
    let none = "the topic has no destination: add it to the table `destination`";
    config.destination.of(topic).ok_or(none)
}

/// The command that appends the message. The reason is why it can never be.
pub(crate) fn xadd(message: &Message, config: &RedisConfig) -> Result<Cmd, Reason> {
    if let Some(reason) = reserved(message) {
        return Err(reason);
    }
    if message.size() > config.max_message_bytes {
        let (size, limit) = (message.size(), config.max_message_bytes);
        let says = format!("the message has {size} bytes, and `max_message_bytes` is {limit}");
        return Err(says.into());
    }
    let mut command = redis::cmd("XADD");
    command.arg(&*stream(config, message.topic())?);
    if !config.create_stream {
        command.arg("NOMKSTREAM");
    }
    if let Some(maxlen) = config.maxlen {
        command.arg("MAXLEN").arg("~").arg(maxlen);
    }
    command.arg("*");
    command.arg(MESSAGE_ID).arg(message.id().to_string());
    command.arg(CREATED_AT).arg(created_at_micros(message));
    command.arg(CONTENT_TYPE).arg(message.content_type());
    let optional = [(MESSAGE_KEY, message.key()), (MESSAGE_TYPE, message.message_type())];
    for (name, value) in optional {
        if let Some(value) = value {
            command.arg(name).arg(value);
        }
    }
    for (name, value) in message.headers() {
        command.arg(name).arg(value);
    }
    command.arg(PAYLOAD).arg(&message.payload()[..]);
    Ok(command)
}

/// The length of the longest argument, in bytes.
pub(crate) fn longest(command: &Cmd) -> usize {
    let length = |argument: Arg<&[u8]>| match argument {
        Arg::Simple(bytes) => bytes.len(),
        _ => 0,
    };
    command.args_iter().map(length).max().unwrap_or_default()
}

/// The id that an outbox gave a message: what an inbox tells duplicates by. `None` if it has
/// none: it comes from elsewhere.
pub fn message_id(entry: &redis::streams::StreamId) -> Option<String> {
    entry.get(MESSAGE_ID)
}

/// The message of an entry, whose names and values alternate, under the topic it was read for.
pub fn received(topic: &str, fields: Vec<Vec<u8>>) -> Message {
    let mut parts = MessageParts {
        id: Uuid::now_v7(),
        topic: topic.into(),
        key: None,
        message_type: None,
        content_type: "application/octet-stream".into(),
        payload: Vec::new().into(),
        headers: Vec::new(),
        created_at: SystemTime::now(),
    };
    let mut fields = fields.into_iter();
    while let (Some(name), Some(value)) = (fields.next(), fields.next()) {
        let name = String::from_utf8_lossy(&name);
        if name == PAYLOAD {
            parts.payload = value.into();
            continue;
        }
        let value = String::from_utf8_lossy(&value);
        match &*name {
            MESSAGE_ID => parts.id = value.parse().unwrap_or(parts.id),
            MESSAGE_KEY => parts.key = Some(value.into()),
            MESSAGE_TYPE => parts.message_type = Some(value.into()),
            CONTENT_TYPE => parts.content_type = value.into(),
            CREATED_AT => parts.created_at = created_at(&value).unwrap_or(parts.created_at),
            _ => parts.headers.push((name.into_owned(), value.into_owned())),
        }
    }
    Message::restore(parts)
}

/// What a consumer reads of `message`, without a broker in between; `None` if no broker is given it.
/// Not for users: tests and fuzzers of all adapters call it so.
pub fn round_trip(message: &Message) -> Option<Message> {
    let command = xadd(message, &RedisConfig::new("h")).ok()?;
    Some(received(message.topic(), arguments(&command).split_off(3)))
}

fn arguments(command: &Cmd) -> Vec<Vec<u8>> {
    let bytes = |argument: Arg<&[u8]>| match argument {
        Arg::Simple(bytes) => bytes.to_vec(),
        _ => unreachable!("no cursor is used"),
    };
    command.args_iter().map(bytes).collect()
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;

    fn message() -> Message {
        Message::bytes("orders", vec![0, 255])
            .key("ключ\n")
            .message_type("order.placed")
            .header("b", "1 ")
            .header("a", "")
            .header("b", "3")
            .created_at(UNIX_EPOCH + Duration::from_micros(1_750_946_400_123_456))
            .build()
            .unwrap()
    }

    #[test]
    fn a_message_survives_the_way_there_and_back() {
        let config = RedisConfig::new("h:1");
        let bare = Message::bytes("t", "").created_at(UNIX_EPOCH).build().unwrap();
        for message in [message(), bare] {
            let arguments = arguments(&xadd(&message, &config).unwrap());
            assert_eq!(arguments[..3], [&b"XADD"[..], message.topic().as_bytes(), b"*"]);
            let back = received(message.topic(), arguments[3..].to_vec());
            assert!(back == message, "{arguments:?}");
        }
    }

    #[test]
    fn the_id_of_an_entry_is_read() {
        let text = |bytes: &[u8]| redis::Value::BulkString(bytes.to_vec());
        let message = message();
        let arguments = arguments(&xadd(&message, &RedisConfig::new("h:1")).unwrap());
        let fields = arguments[3..]
            .chunks(2)
            .map(|pair| (String::from_utf8(pair[0].clone()).unwrap(), text(&pair[1])));
        let mut entry = redis::streams::StreamId { map: fields.collect(), ..Default::default() };
        assert_eq!(message_id(&entry), Some(message.id().to_string()));
        entry.map.remove(MESSAGE_ID);
        assert_eq!(message_id(&entry), None);
    }

    #[test]
    fn options_stand_before_the_entry() {
        let config = RedisConfig { maxlen: Some(7), create_stream: false, ..RedisConfig::new("h") };
        let arguments = arguments(&xadd(&message(), &config).unwrap());
        let expected = ["XADD", "orders", "NOMKSTREAM", "MAXLEN", "~", "7", "*"];
        assert_eq!(arguments[..7], expected.map(str::as_bytes));
    }

    #[test]
    fn the_longest_part_counts() {
        let command = xadd(&message(), &RedisConfig::new("h:1")).unwrap();
        assert_eq!(longest(&command), 36, "the id");
        let long = Message::bytes("t", vec![7; 99]).build().unwrap();
        assert_eq!(longest(&xadd(&long, &RedisConfig::new("h:1")).unwrap()), 99);
    }

    #[test]
    fn what_can_never_be_sent_is_refused() {
        let config = RedisConfig::new("h:1");
        let mut parts = message().parts().clone();
        parts.headers = vec![("outbox-payload".to_owned(), "x".to_owned())];
        assert!(xadd(&Message::restore(parts), &config).is_err());
        let size = message().size();
        let with = |max_message_bytes| RedisConfig { max_message_bytes, ..RedisConfig::new("h") };
        assert!(xadd(&message(), &with(size)).is_ok());
        assert!(xadd(&message(), &with(size - 1)).is_err());
        let destination = outbox_core::broker::Destinations::table([]);
        assert!(xadd(&message(), &RedisConfig { destination, ..config }).is_err());
    }

    #[test]
    fn a_message_that_no_outbox_sent_has_what_parts_there_are() {
        let fields = ["a", "1", "outbox-id", "none", "b", "2", "left over"];
        let message = received("t", fields.map(|text| text.as_bytes().to_vec()).to_vec());
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(message.headers(), [pair("a", "1"), pair("b", "2")]);
        assert!(message.payload().is_empty() && message.key().is_none());
    }
}
