//! What arrives is what was sent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outbox_core::Message;

use super::Fixture;

pub async fn every_part_arrives(broker: &Fixture) {
    let full = broker
        .bytes("{\"order\":42}")
        .key("customer-7")
        .message_type("order.placed")
        .content_type("application/json; charset=utf-8")
        .header("tenant", "acme")
        .header("traceparent", "00-1-2-3")
        .created_at(UNIX_EPOCH + Duration::from_millis(1_750_946_400_123));
    let bare = broker.bytes("");
    assert_arrives(broker, [full, bare].map(|builder| builder.build().unwrap())).await;
}

pub async fn payloads_arrive_byte_for_byte(broker: &Fixture) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let opaque = [
        Vec::new(),
        vec![0],
        vec![0xff, 0xfe, 0x80],
        every_byte,
        b"line\r\nbreak\n".to_vec(),
        vec![b'x'; 100 * 1024],
    ];
    let opaque = opaque.map(|payload| broker.bytes(payload).build().unwrap());
    assert_arrives(broker, opaque).await;
    // Whoever parses JSON changes some of these.
    let json = [
        "null",
        " {} ",
        "{\n  \"pretty\": true\n}",
        "{\"b\":1,\"a\":2,\"b\":3}",
        "123456789012345678901234567890.10",
        "\"\\u0000\\ud800 é\"",
        "{\"not\": \"json\"",
    ];
    let json =
        json.map(|payload| broker.bytes(payload).content_type("application/json").build().unwrap());
    assert_arrives(broker, json).await;
}

pub async fn keys_and_headers_arrive_as_they_are(broker: &Fixture) {
    let texts = ["trailing ", "'\"\\;,=&%20${}", "ключ 鍵 🗝️", "null", "line\nbreak"];
    let messages = texts.map(|key| {
        let value: String = key.chars().filter(|c| !c.is_control()).collect();
        let builder = broker.bytes("").key(key).header("same", "1").header("other", value);
        builder.header("same", "").header("same", "3").build().unwrap()
    });
    assert_arrives(broker, messages).await;
}

async fn assert_arrives<const N: usize>(broker: &Fixture, messages: [Message; N]) {
    broker.deliver(&messages).await;
    let arrived = broker.harness.arrived().await;
    for message in &messages {
        let copy = arrived.iter().find(|copy| copy.id() == message.id());
        let (copy, sent) = (copy.expect("it arrives").parts(), message.parts());
        // One by one, as a message shows neither its payload nor its key.
        assert_eq!(copy.topic, sent.topic);
        assert_eq!(copy.key, sent.key);
        assert_eq!(copy.message_type, sent.message_type);
        assert_eq!(copy.content_type, sent.content_type);
        assert_eq!(copy.headers, sent.headers);
        assert!(copy.payload == sent.payload, "the payload of {message:?} differs");
        assert!(distance(copy.created_at, sent.created_at) < Duration::from_millis(1));
    }
}

fn distance(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b).unwrap_or_else(|error| error.duration())
}
