//! One line of input as a message.

use std::collections::HashMap;
use std::marker::PhantomData;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use outbox::Message;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::error::Category;
use serde_json::value::RawValue;

/// Reads a line; a blank one is no message. The reason of a refusal quotes nothing of the line:
/// what serde says of values of a wrong type would.
pub(super) fn read(line: &[u8]) -> Result<Option<Message>, String> {
    let line = std::str::from_utf8(line).map_err(|_| "not UTF-8")?.trim();
    if line.is_empty() {
        return Ok(None);
    }
    let fields = serde_json::from_str(line).map_err(|error| match error.classify() {
        Category::Data => "not a JSON object".to_owned(),
        Category::Syntax | Category::Eof | Category::Io => {
            format!("not valid JSON at column {}", error.column())
        }
    })?;
    message(Fields::of(fields)?).map(Some)
}

fn message(mut fields: Fields<'_>) -> Result<Message, String> {
    let topic: String = fields.take("topic", "a string")?.ok_or("`topic` is missing")?;
    let payload: Option<&RawValue> = fields.take("payload", "JSON")?;
    let base64: Option<String> = fields.take("payload_base64", "a string")?;
    let (payload, content_type) = match (payload, base64) {
        (Some(json), None) => (json.get().as_bytes().to_vec(), "application/json"),
        (None, Some(text)) => {
            let bytes = STANDARD.decode(text).map_err(|_| "`payload_base64` is no base64")?;
            (bytes, "application/octet-stream")
        }
        (None, None) => return Err("`payload` or `payload_base64` is missing".into()),
        (Some(_), Some(_)) => {
            return Err("`payload` and `payload_base64` exclude each other".into());
        }
    };
    let content_type = fields.take("content_type", "a string")?.unwrap_or(content_type.to_owned());
    let mut builder = Message::bytes(topic, payload).content_type(content_type);
    if let Some(key) = fields.take::<String>("key", "a string")? {
        builder = builder.key(key);
    }
    if let Some(message_type) = fields.take::<String>("type", "a string")? {
        builder = builder.message_type(message_type);
    }
    for (name, value) in fields.headers()? {
        builder = builder.header(name, value);
    }
    fields.end()?;
    builder.build().map_err(|error| error.to_string())
}

/// What has not been read yet of a line.
struct Fields<'a>(HashMap<String, &'a RawValue>);

impl<'a> Fields<'a> {
    /// Which of two values of a field counts, nobody could tell.
    fn of(Object(members): Object<&'a RawValue>) -> Result<Self, String> {
        let count = members.len();
        let fields: HashMap<_, _> = members.into_iter().collect();
        if fields.len() < count {
            return Err("it has a field twice".into());
        }
        Ok(Self(fields))
    }

    /// A field that must be `kind`; `null` is the same as leaving it out, but for the payload.
    fn take<T: Deserialize<'a>>(&mut self, name: &str, kind: &str) -> Result<Option<T>, String> {
        match self.0.remove(name) {
            Some(value) if name == "payload" || value.get() != "null" => {
                let value = serde_json::from_str(value.get());
                value.map(Some).map_err(|_| format!("`{name}` must be {kind}"))
            }
            _ => Ok(None),
        }
    }

    fn headers(&mut self) -> Result<Vec<(String, String)>, String> {
        const KIND: &str = "an object of strings, or an array of pairs of strings";
        let Some(value) = self.take::<&RawValue>("headers", KIND)? else { return Ok(Vec::new()) };
        if let Ok(pairs) = parse(value) {
            return Ok(pairs);
        }
        // A map of serde's would lose the order.
        let Object(pairs) = parse(value).map_err(|()| format!("`headers` must be {KIND}"))?;
        Ok(pairs)
    }

    fn end(&self) -> Result<(), String> {
        if self.0.is_empty() {
            return Ok(());
        }
        Err("it has a field other than `topic`, `key`, `type`, `content_type`, `headers`, \
             `payload` and `payload_base64`"
            .into())
    }
}

fn parse<T: DeserializeOwned>(value: &RawValue) -> Result<T, ()> {
    serde_json::from_str(value.get()).map_err(|_| ())
}

/// The members of an object, in their order.
struct Object<T>(Vec<(String, T)>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> serde::de::Visitor<'de> for Members<T> {
            type Value = Object<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: serde::de::MapAccess<'de>>(
                self,
                mut map: A,
            ) -> Result<Object<T>, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Object(members))
            }
        }

        deserializer.deserialize_map(Members(PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good(line: &str) -> Message {
        read(line.as_bytes()).unwrap().unwrap()
    }

    #[test]
    fn all_fields() {
        let message = good(
            r#"{"topic":"orders","key":"k","type":"placed","content_type":"text/x",
                "headers":{"b":"1","a":"2"},"payload": {"b": 1.0, "a":2} }"#,
        );
        assert_eq!((message.topic(), message.key()), ("orders", Some("k")));
        assert_eq!(message.message_type(), Some("placed"));
        assert_eq!(message.content_type(), "text/x");
        assert_eq!(message.headers(), [("b".into(), "1".into()), ("a".into(), "2".into())]);
        assert_eq!(&message.payload()[..], br#"{"b": 1.0, "a":2}"#, "byte for byte");
    }

    #[test]
    fn few_fields() {
        let json = good(r#"{"topic":"t","payload":null,"key":null}"#);
        assert_eq!((&json.payload()[..], json.content_type()), (&b"null"[..], "application/json"));
        assert_eq!(json.key(), None);
        let bytes = good(r#"{"topic":"t","payload_base64":"AP8="}"#);
        assert_eq!(&bytes.payload()[..], [0, 255]);
        assert_eq!(bytes.content_type(), "application/octet-stream");
        let pairs = good(r#"{"topic":"t","payload":1,"headers":[["a","1"],["a","2"]]}"#);
        assert_eq!(pairs.headers(), [("a".into(), "1".into()), ("a".into(), "2".into())]);
        assert_eq!(read(b" \r\n"), Ok(None));
    }

    #[test]
    fn refusals_say_why_and_quote_nothing() {
        for (line, reason) in [
            (r#"{"topic":"canary""#, "not valid JSON at column"),
            (r#"["canary"]"#, "not a JSON object"),
            (r#""canary""#, "not a JSON object"),
            (r#"{"payload":"canary"}"#, "`topic` is missing"),
            (r#"{"topic":["canary"],"payload":1}"#, "`topic` must be a string"),
            (r#"{"topic":"canary"}"#, "`payload` or `payload_base64` is missing"),
            (r#"{"topic":"t","payload":1,"payload_base64":"canary"}"#, "exclude each other"),
            (r#"{"topic":"t","payload_base64":"canary!"}"#, "`payload_base64` is no base64"),
            (r#"{"topic":"t","payload":1,"key":{"canary":1}}"#, "`key` must be a string"),
            (r#"{"topic":"t","payload":1,"headers":{"canary":1}}"#, "`headers` must be"),
            (r#"{"topic":"t","payload":1,"canary":1}"#, "a field other than"),
            (r#"{"topic":"t","payload":1,"key":"canary","key":"b"}"#, "it has a field twice"),
            (r#"{"topic":"t","payload":1,"canary":1,"canary":1}"#, "it has a field twice"),
            (
                r#"{"topic":"t","payload":"canary","key":"can\u0000ary"}"#,
                "a NUL character at byte 3",
            ),
        ] {
            let told = read(line.as_bytes()).unwrap_err();
            assert!(told.contains(reason), "{line}: {told}");
            assert!(!told.contains("canary"), "{told}");
        }
        assert_eq!(read(b"\xff"), Err("not UTF-8".into()));
    }
}
