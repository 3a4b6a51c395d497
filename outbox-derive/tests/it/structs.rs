//! Structs of every shape.

use outbox::{Event, IntoMessage, Limits, Message};
use outbox_derive::Event;
use serde::Serialize;

#[derive(Serialize, Event)]
#[event(topic = "orders", type = "order.placed")]
struct Placed {
    order: u64,
    #[event(key)]
    customer: &'static str,
}

#[derive(Serialize, Event)]
#[event(topic = "orders")]
struct Paid(f64, #[event(key)] u64);

#[derive(Serialize, Event)]
#[event(topic = "shop", type = "shop.closed")]
struct Closed;

#[derive(Serialize, Event)]
#[event(topic = "orders")]
#[event(type = "order.seen")]
struct Seen {
    #[event(key)]
    r#type: std::option::Option<u8>,
}

#[test]
fn a_message_is_what_the_event_says() {
    let placed = Placed { order: 42, customer: "acme" };
    let message = Message::event(&placed).build().unwrap();
    assert_eq!(message.topic(), "orders");
    assert_eq!(message.message_type(), Some("order.placed"));
    assert_eq!(message.key(), Some("acme"));
    assert_eq!(message.content_type(), "application/json");
    assert_eq!(message.payload(), r#"{"order":42,"customer":"acme"}"#);
    let strict = Limits { payload: 1, ..Limits::default() };
    assert!((&placed).into_message(&strict).is_err());
}

#[test]
fn what_is_not_said_is_left_to_the_trait() {
    let paid = Paid(0.5, 7);
    assert_eq!((paid.topic(), paid.message_type()), ("orders", None));
    assert_eq!(paid.key().as_deref(), Some("7"));
    assert_eq!(paid.payload().unwrap(), "[0.5,7]");
    assert_eq!((Closed.topic(), Closed.message_type()), ("shop", Some("shop.closed")));
    assert_eq!(Closed.key(), None);
    assert_eq!(Closed.payload().unwrap(), "null");
}

#[test]
fn an_optional_field_is_a_key_when_it_is_there() {
    assert_eq!(Seen { r#type: Some(7) }.key().as_deref(), Some("7"));
    assert_eq!(Seen { r#type: None }.key(), None);
    assert_eq!(Seen { r#type: None }.message_type(), Some("order.seen"));
}
