//! What is read is what was written.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use outbox_core::{Limits, Message, Partition};
use uuid::Uuid;

use super::Fixture;
use super::fixture::message;

pub async fn every_part_of_a_message_is_kept(outbox: &Fixture) {
    let full = Message::json("orders", &serde_json::json!({ "order": 42 }))
        .id(Uuid::from_u128(0x1234_5678_9abc_4def_8012_3456_789a_bcde))
        .key("customer-7")
        .message_type("order.placed")
        .content_type("application/json; charset=utf-8")
        .header("tenant", "acme")
        .header("trace", "00-1-2-3");
    let bare = Message::bytes("orders", "");
    let edges = [Uuid::nil(), Uuid::max()].map(|id| Message::bytes("orders", "x").id(id));
    let [nil, max] = edges;
    assert_kept(outbox, [full, bare, nil, max].map(|builder| builder.build().unwrap())).await;
}

pub async fn payloads_are_opaque_bytes(outbox: &Fixture) {
    let every_byte: Vec<u8> = (0..=255).collect();
    let payloads: [Vec<u8>; 7] = [
        Vec::new(),
        vec![0],
        b"a\0b\0".to_vec(),
        vec![0xff, 0xfe, 0x80],
        every_byte,
        b"\\x00 \\000 '; -- $1 ? :a".to_vec(),
        vec![b'"'; 1024 * 1024],
    ];
    assert_kept(outbox, payloads.map(|payload| Message::bytes("t", payload).build().unwrap()))
        .await;
}

pub async fn keys_and_headers_may_hold_any_text(outbox: &Fixture) {
    let texts = [
        " ",
        "trailing ",
        "line\nbreak\r\ttab",
        "'\"\\;--${}%_?:$1",
        "ключ 鍵 🗝️",
        "a\u{308}\u{200f}\u{feff}\u{ffff}\u{10ffff}",
        "\u{1}\u{7f}\u{85}",
        "null",
        "\\u0000",
    ];
    let messages = texts.map(|text| {
        let flat: String = text.chars().filter(|c| !c.is_control()).collect();
        Message::bytes("t", "")
            .key(text)
            .header("same", format!("1{flat}"))
            .header("same", "")
            .header("Same", flat.clone())
            .header(format!("name {flat}"), "\t\u{1}")
            .header("same", "3")
            .build()
            .unwrap()
    });
    assert_kept(outbox, messages).await;
}

pub async fn the_widest_parts_are_kept(outbox: &Fixture) {
    let Limits { topic, key, name, headers, header_bytes, .. } = Limits::default();
    let wide = |part: &str, bytes: usize| part.repeat(bytes / part.len() + 1)[..bytes].to_owned();
    let mut narrow = Message::bytes(wide("t", topic), "")
        .key(wide("k", key))
        .message_type(wide("y", name))
        .content_type(wide("c", name));
    for _ in 0..headers {
        narrow = narrow.header("name", wide("v", header_bytes / headers - 4));
    }
    // In characters of four bytes the same widths hold fewer characters.
    let four = Message::bytes("😀".repeat(topic / 4), "")
        .key("😀".repeat(key / 4))
        .message_type("😀".repeat(name / 4))
        .header("😀", "😀".repeat(header_bytes / 4 - 1));
    assert_kept(outbox, [narrow, four].map(|builder| builder.build().unwrap())).await;
}

pub async fn times_are_kept_to_the_microsecond(outbox: &Fixture) {
    let times = [
        UNIX_EPOCH + Duration::from_micros(1),
        UNIX_EPOCH + Duration::from_micros(1_750_000_000_999_999),
        UNIX_EPOCH + Duration::from_micros(1_750_000_000_000_001),
        // 2100-01-01
        UNIX_EPOCH + Duration::from_micros(4_102_444_800_123_456),
    ];
    let messages = times.map(|time| Message::bytes("t", "").created_at(time).build().unwrap());
    let rows = outbox.rows_of(&messages).await;
    let kept: Vec<_> = rows.iter().map(|row| row.message.created_at()).collect();
    assert_eq!(kept, times);
    let nanos = times[1] + Duration::from_nanos(900);
    let finer = Message::bytes("t", "").created_at(nanos).build().unwrap();
    let kept = outbox.rows_of(&[finer]).await[0].message.created_at();
    assert!(distance(kept, nanos) < Duration::from_micros(1), "{kept:?}");
}

pub async fn a_key_is_in_the_partition_of_its_hash(outbox: &Fixture) {
    let mut sent: Vec<_> = (0..30).map(|n| message(&format!("key-{n}"))).collect();
    sent.extend((0..30).map(|_| Message::bytes("orders", "").build().unwrap()));
    for (row, message) in outbox.rows_of(&sent).await.iter().zip(&sent) {
        let expected = Partition::of_message(message, outbox.store.partitions());
        assert_eq!(row.partition, expected, "key {:?}", message.key());
    }
}

pub async fn a_row_that_cannot_be_read_says_so(outbox: &Fixture) {
    let bad = message("k");
    if !outbox.harness.enqueue_defective(&bad).await {
        // The tables allow no such row, so that every row has to be whole.
        let rows = outbox.rows_of(&[bad]).await;
        assert_eq!(rows[0].defect, None);
        return;
    }
    let good = message("k");
    outbox.enqueue(std::slice::from_ref(&good)).await;
    let rows = outbox.pending().await;
    assert_eq!(rows.len(), 2, "it does not hide, nor hide others");
    assert_eq!(rows[0].message.id(), bad.id());
    assert_eq!((rows[0].message.topic(), rows[0].message.key()), (bad.topic(), bad.key()));
    assert!(rows[0].defect.is_some());
    assert_eq!(rows[1].defect, None);
}

async fn assert_kept<const N: usize>(outbox: &Fixture, messages: [Message; N]) {
    for (row, message) in outbox.rows_of(&messages).await.iter().zip(&messages) {
        let (kept, sent) = (row.message.parts(), message.parts());
        // One by one, as a message shows neither its payload nor its key.
        assert_eq!(kept.id, sent.id);
        assert_eq!(kept.topic, sent.topic);
        assert_eq!(kept.key, sent.key);
        assert_eq!(kept.message_type, sent.message_type);
        assert_eq!(kept.content_type, sent.content_type);
        assert_eq!(kept.headers, sent.headers);
        assert!(kept.payload == sent.payload, "the payload differs");
        assert!(distance(kept.created_at, sent.created_at) < Duration::from_micros(1));
        assert_eq!((row.attempts, row.retry_in, &row.defect), (0, None, &None));
    }
}

fn distance(a: SystemTime, b: SystemTime) -> Duration {
    a.duration_since(b).unwrap_or_else(|error| error.duration())
}
