//! One message as one line of JSON.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outbox_core::Message;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// `message` as the publisher writes it, without the end of the line.
pub fn json_line(message: &Message) -> String {
    serde_json::to_string(&Line::of(message)).expect("text and numbers serialise")
}

/// The lines of a batch, and where each of them ends.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Lines {
    pub(crate) fn of(batch: &[Arc<Message>]) -> Self {
        let mut lines = Self::default();
        for message in batch {
            serde_json::to_writer(&mut lines.bytes, &Line::of(message))
                .expect("text and numbers serialise, and memory takes them");
            lines.bytes.push(b'\n');
            lines.ends.push(lines.bytes.len());
        }
        lines
    }

    /// Whole lines, together at least `size` bytes unless they are the last, and their number.
    pub(crate) fn pieces(&self, size: usize) -> impl Iterator<Item = (usize, &[u8])> {
        let mut done = 0;
        std::iter::from_fn(move || {
            let start = if done == 0 { 0 } else { self.ends[done - 1] };
            let rest = &self.ends[done..];
            let full = rest.iter().position(|end| end - start >= size);
            let count = full.map_or(rest.len(), |last| last + 1);
            done += count;
            (count > 0).then(|| (count, &self.bytes[start..self.ends[done - 1]]))
        })
    }
}

#[derive(Serialize)]
struct Line<'a> {
    id: Uuid,
    topic: &'a str,
    key: Option<&'a str>,
    r#type: Option<&'a str>,
    content_type: &'a str,
    headers: &'a [(String, String)],
    created_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload: Option<&'a RawValue>,
    #[serde(skip_serializing_if = "Option::is_none")]
    payload_base64: Option<String>,
}

impl<'a> Line<'a> {
    fn of(message: &'a Message) -> Self {
        let payload = json(message);
        Self {
            id: message.id(),
            topic: message.topic(),
            key: message.key(),
            r#type: message.message_type(),
            content_type: message.content_type(),
            headers: message.headers(),
            created_at: micros(message.created_at()),
            payload,
            payload_base64: payload.is_none().then(|| STANDARD.encode(message.payload())),
        }
    }
}

/// The payload as it stands, if it can stand in a line of JSON without changing a byte.
fn json(message: &Message) -> Option<&RawValue> {
    if !is_json(message.content_type()) || message.payload().contains(&b'\n') {
        return None;
    }
    let value: &RawValue = serde_json::from_slice(message.payload()).ok()?;
    (value.get().len() == message.payload().len()).then_some(value)
}

fn is_json(content_type: &str) -> bool {
    let media_type = content_type.split(';').next().unwrap_or_default().trim();
    let subtype = media_type.split_once('/').map_or("", |(_, subtype)| subtype);
    subtype.eq_ignore_ascii_case("json") || subtype.to_ascii_lowercase().ends_with("+json")
}

/// Times too far from now to count saturate.
fn micros(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn line(message: Message) -> String {
        String::from_utf8(Lines::of(&[Arc::new(message)]).bytes).unwrap()
    }

    fn payload(content_type: &str, payload: &'static str) -> String {
        let message = Message::bytes("t", payload).content_type(content_type).build().unwrap();
        let line = line(message);
        let at = line.find("\"payload").unwrap();
        line[at..].trim_end().to_owned()
    }

    #[test]
    fn all_parts_stand_in_the_line() {
        let message = Message::json("orders", &[1])
            .id(Uuid::from_u128(7))
            .key("k\n\"")
            .message_type("placed")
            .header("a", "1")
            .header("a", "2")
            .created_at(UNIX_EPOCH + Duration::from_nanos(1_234_567_899))
            .build()
            .unwrap();
        let expected = concat!(
            r#"{"id":"00000000-0000-0000-0000-000000000007","topic":"orders","key":"k\n\"","#,
            r#""type":"placed","content_type":"application/json","#,
            r#""headers":[["a","1"],["a","2"]],"created_at":1234567,"payload":[1]}"#,
            "\n"
        );
        assert_eq!(line(message), expected);
    }

    #[test]
    fn json_stays_as_it_is() {
        let number = "{\"n\": 100000000000000000000000000000.10, \"n\":1}";
        for content_type in ["application/json", "text/JSON; charset=utf-8", "a/vnd.b+json"] {
            assert_eq!(payload(content_type, number), format!("\"payload\":{number}}}"));
        }
    }

    #[test]
    fn what_cannot_stand_in_a_line_is_base64() {
        for (content_type, bytes, expected) in [
            ("application/octet-stream", "1", "MQ=="),
            ("application/json", "", ""),
            ("application/json", "{", "ew=="),
            ("application/json", "[\n]", "Wwpd"),
            ("application/json", "1 ", "MSA="),
            ("application/jsonlines", "1", "MQ=="),
        ] {
            let expected = format!("\"payload_base64\":\"{expected}\"}}");
            assert_eq!(payload(content_type, bytes), expected);
        }
    }

    #[test]
    fn times_before_the_epoch_and_beyond_the_integer() {
        assert_eq!(micros(UNIX_EPOCH - Duration::from_micros(5)), -5);
        let far = UNIX_EPOCH + Duration::from_secs(i64::MAX.unsigned_abs() / 2);
        assert_eq!(micros(far), i64::MAX);
    }

    #[test]
    fn pieces_are_whole_lines() {
        let message = Arc::new(Message::bytes("t", "").build().unwrap());
        let lines = Lines::of(&vec![message; 5]);
        let length = lines.bytes.len() / 5;
        let counts = |size| lines.pieces(size).map(|(count, _)| count).collect::<Vec<_>>();
        assert_eq!(counts(1), [1; 5]);
        assert_eq!(counts(length + 1), [2, 2, 1]);
        assert_eq!(counts(1 << 20), [5]);
        let joined: Vec<u8> = lines.pieces(length).flat_map(|(_, p)| p.to_vec()).collect();
        assert_eq!(joined, lines.bytes);
        assert_eq!(Lines::default().pieces(1).count(), 0);
    }
}
