//! What servers, streams and accounts don't take.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy};
use outbox_core::{Limits, Message, Outcome};

use super::nats;
use super::reloadable::Reloadable;
use crate::consumer::Stream;
use crate::publishing::{connect, is_unavailable, message, publish, reason};

fn of_size(topic: &str, size: usize) -> Message {
    let limits = Limits { payload: size, ..Limits::default() };
    Message::bytes(topic, vec![7; size]).build_within(&limits).unwrap()
}

/// FAILURES row 49: what is larger than the server says would cost the connection.
#[tokio::test]
async fn the_largest_payload_is_taken_and_one_byte_more_rejected_alone() {
    let server = nats("max_payload: 8192").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(stream.config()).await;
    // Finds the limit, which counts the headers.
    let mut size = 8192;
    let outcomes = loop {
        let around = [size, size + 1, 0].map(|size| of_size(&stream.subject, size));
        let outcomes = publish(&publisher, &around).await;
        if outcomes[0] == Outcome::Delivered {
            break outcomes;
        }
        size -= 1;
    };
    assert_eq!(outcomes[2], Outcome::Delivered, "others are not affected");
    let Outcome::Rejected(reason) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().contains("8192 exceeded by message size of 8193"), "{reason}");
}

/// FAILURES row 49: servers don't tell clients of it. Seen to reject for the life of the
/// connection.
#[tokio::test]
async fn a_limit_that_is_raised_rejects_no_longer() {
    let server = Reloadable::start("max_payload: 8192").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch = [10, 20_000, 10].map(|size| of_size(&stream.subject, size));
    let outcomes = publish(&publisher, &batch).await;
    assert!(matches!(outcomes[1], Outcome::Rejected(_)), "{outcomes:?}");
    server.reload("8192", "65536");
    for _ in 0..300 {
        let client = async_nats::connect(server.url()).await.unwrap();
        if client.max_payload() == 65_536 {
            // What a publisher knows for less than a second it doesn't ask for again.
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 3]);
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("the server does not read its configuration");
}

#[tokio::test]
async fn a_stream_says_what_it_does_not_take() {
    let server = nats("").await;
    let config = Config {
        max_message_size: 1000,
        max_messages: 2,
        discard: DiscardPolicy::New,
        ..Config::default()
    };
    let stream = Stream::create_as(&server.url(), config).await;
    let publisher = connect(stream.config()).await;
    let sizes = [10, 2000, 10, 10];
    let outcomes = publish(&publisher, &sizes.map(|size| of_size(&stream.subject, size))).await;
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
    assert!(matches!(outcomes[1], Outcome::Rejected(_)), "{:?}", outcomes[1]);
    assert!(reason(&outcomes[1]).contains("message size exceeds maximum allowed"));
    assert!(is_unavailable(&outcomes[3], "maximum messages exceeded"), "{:?}", outcomes[3]);
}

#[tokio::test]
async fn a_full_subject_has_failed() {
    let server = nats("").await;
    let config = Config {
        max_messages_per_subject: 1,
        discard: DiscardPolicy::New,
        discard_new_per_subject: true,
        ..Config::default()
    };
    let stream = Stream::create_as(&server.url(), config).await;
    let publisher = connect(stream.config()).await;
    let outcomes = publish(&publisher, &[message(&stream.subject), message(&stream.subject)]).await;
    assert_eq!(outcomes[0], Outcome::Delivered);
    let Outcome::Failed(reason) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().contains("maximum messages per subject exceeded"), "{reason}");
}

#[tokio::test]
async fn a_sealed_stream_rejects() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(stream.config()).await;
    assert_eq!(publish(&publisher, &[message(&stream.subject)]).await, [Outcome::Delivered]);
    stream.update(|config| config.sealed = true).await;
    let outcomes = publish(&publisher, &[message(&stream.subject)]).await;
    let [Outcome::Rejected(reason)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().contains("sealed"), "{reason}");
}

#[tokio::test]
async fn a_full_account_is_unavailable() {
    let settings = "accounts { A { jetstream { max_file: 100000, max_memory: 0 },\n\
        users [ { user: a, password: pw } ] } }\nno_auth_user: a";
    let server = nats(settings).await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch: Vec<_> = (0..10).map(|_| of_size(&stream.subject, 30_000)).collect();
    let outcomes = publish(&publisher, &batch).await;
    assert_eq!(outcomes[0], Outcome::Delivered);
    assert!(is_unavailable(&outcomes[9], "resource limits exceeded"), "{outcomes:?}");
}
