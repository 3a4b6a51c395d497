//! Payloads that are not what serde makes.

use outbox::{Event, InvalidMessage, Message};
use outbox_derive::Event;
use serde::Serialize;

/// As the messages of prost have it.
trait Encode {
    fn encode_to_vec(&self) -> Vec<u8>;
}

#[derive(Event)]
#[event(
    topic = "orders",
    content_type = "application/x-protobuf",
    payload = "Encode::encode_to_vec"
)]
struct Encoded(u16);

impl Encode for Encoded {
    fn encode_to_vec(&self) -> Vec<u8> {
        self.0.to_be_bytes().to_vec()
    }
}

#[derive(Event)]
#[event(topic = "orders", content_type = "avro/binary", payload = "<Self as Fallible>::encode")]
struct Refused;

trait Fallible {
    fn encode(&self) -> Result<Vec<u8>, InvalidMessage>;
}

impl Fallible for Refused {
    fn encode(&self) -> Result<Vec<u8>, InvalidMessage> {
        Err(InvalidMessage::Serialize { reason: "no schema".into() })
    }
}

#[derive(Event)]
#[event(topic = "orders", content_type = "text/plain", payload = "checked")]
struct Checked(&'static str);

fn checked(order: &Checked) -> Result<String, NotANumber> {
    if order.0.parse::<u64>().is_ok() { Ok(order.0.to_owned()) } else { Err(NotANumber(order.0)) }
}

#[derive(Debug)]
struct NotANumber(&'static str);

impl std::fmt::Display for NotANumber {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} is no number", self.0)
    }
}

impl std::error::Error for NotANumber {}

#[derive(Serialize, Event)]
#[event(topic = "orders", content_type = "application/cloudevents+json; charset=utf-8")]
struct Cloud {
    id: u8,
}

#[test]
fn the_users_function_gives_the_bytes() {
    let message = Message::event(&Encoded(258)).build().unwrap();
    assert_eq!(message.content_type(), "application/x-protobuf");
    assert_eq!(message.payload(), [1, 2].as_slice());
}

#[test]
fn its_error_is_told_when_the_message_is_built() {
    let refused = Message::event(&Refused).build().unwrap_err();
    assert_eq!(refused, InvalidMessage::Serialize { reason: "no schema".into() });
}

#[test]
fn an_error_of_the_users_is_told_by_its_type() {
    let refused = Message::event(&Checked("canary")).build().unwrap_err();
    let shown = format!("{refused} {refused:?}");
    assert!(shown.contains("payloads::NotANumber") && !shown.contains("canary"), "{shown}");
    assert_eq!(Message::event(&Checked("42")).build().unwrap().payload(), "42");
}

#[test]
fn json_may_have_a_name_of_its_own() {
    let cloud = Cloud { id: 1 };
    assert_eq!(cloud.content_type(), "application/cloudevents+json; charset=utf-8");
    assert_eq!(cloud.payload().unwrap(), r#"{"id":1}"#);
}
