//! What NATS answers, and what becomes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Config;
use outbox_core::broker::Tail;
use outbox_core::{Message, Outcome, Publisher};
use outbox_nats::{NatsConfig, NatsError, NatsPublisher, NatsTail};

use super::nats;
use crate::consumer::Stream;
use crate::publishing::{connect, is_unavailable, message, publish};

/// FAILURES row 50: it doesn't wait for the deadline.
#[tokio::test]
async fn without_a_stream_a_message_is_rejected_and_others_are_not() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let config = NatsConfig { reject_without_stream: true, ..stream.config() };
    let publisher = connect(config).await;
    let batch = [message(&stream.subject), message("nowhere"), message(&stream.subject)];
    let outcomes = publish(&publisher, &batch).await;
    let says = "no stream takes the subject `nowhere`: create one";
    assert_eq!(outcomes[1], Outcome::Rejected(says.into()));
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
    stream.delete().await;
    let outcomes = publish(&publisher, &batch[..1]).await;
    assert!(matches!(outcomes[..], [Outcome::Rejected(_)]), "{outcomes:?}");
}

/// FAILURES row 50: it may be elsewhere, and out of reach.
#[tokio::test]
async fn without_a_stream_a_message_waits_unless_all_streams_are_here() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch = [message(&stream.subject), message("nowhere"), message(&stream.subject)];
    let outcomes = publish(&publisher, &batch).await;
    assert!(is_unavailable(&outcomes[1], "no stream takes the subject `nowhere`"), "{outcomes:?}");
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
}

#[tokio::test]
async fn without_jetstream_the_server_is_unavailable() {
    let server = nats("jetstream: false").await;
    let publisher = connect(server.url().parse().unwrap()).await;
    let outcomes = publish(&publisher, &[message("orders")]).await;
    assert!(matches!(outcomes[..], [Outcome::Unavailable(_)]), "{outcomes:?}");
    assert!(publisher.check().await.is_err());
}

/// FAILURES row 53. Seen to be stored at once again without `Nats-Msg-Id`.
#[tokio::test]
async fn a_duplicate_is_delivered_and_after_the_window_stored_again() {
    let server = nats("").await;
    let window = Duration::from_millis(500);
    let config = Config { duplicate_window: window, ..Config::default() };
    let stream = Stream::create_as(&server.url(), config).await;
    let publisher = connect(stream.config()).await;
    let batch = [message(&stream.subject)];
    for _ in 0..2 {
        assert_eq!(publish(&publisher, &batch).await, [Outcome::Delivered]);
    }
    assert_eq!(stream.count().await, 1);
    while stream.count().await == 1 {
        tokio::time::sleep(window / 2).await;
        assert_eq!(publish(&publisher, &batch).await, [Outcome::Delivered]);
    }
    let arrived = stream.arrived().await;
    assert!(arrived.iter().all(|message| message.id() == batch[0].id()), "under the same id");
}

#[tokio::test]
async fn a_batch_arrives_in_its_order() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(NatsConfig { max_pending: 7, ..stream.config() }).await;
    let batch: Vec<_> = (0..500).map(|_| message(&stream.subject)).collect();
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 500]);
    let arrived: Vec<_> = stream.arrived().await.iter().map(Message::id).collect();
    assert_eq!(arrived, batch.iter().map(Message::id).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_stream_is_created_where_that_is_asked_for() {
    let server = nats("").await;
    let url = format!("{}?create_stream=SHOP&subjects=shop.%3E", server.url());
    let url = format!("{url}&destination=shop.%7Btopic%7D");
    for _ in 0..2 {
        let publisher = connect(url.parse().unwrap()).await;
        assert_eq!(publish(&publisher, &[message("orders")]).await, [Outcome::Delivered]);
    }
}

/// Seen to be rejected until the publisher connected anew.
#[tokio::test]
async fn a_stream_that_is_deleted_is_created_again() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let config = NatsConfig {
        create_stream: Some("SHOP".to_owned()),
        subjects: vec!["orders".to_owned()],
        reject_without_stream: true,
        ..stream.config()
    };
    let publisher = connect(config).await;
    let batch = [message("orders"), message("elsewhere")];
    assert_eq!(publish(&publisher, &batch[..1]).await, [Outcome::Delivered]);
    stream.jetstream.delete_stream("SHOP").await.unwrap();
    let outcomes = publish(&publisher, &batch).await;
    assert!(is_unavailable(&outcomes[0], "has been created just now"), "{outcomes:?}");
    assert!(matches!(outcomes[1], Outcome::Rejected(_)), "it doesn't take that: {outcomes:?}");
    assert_eq!(publish(&publisher, &batch[..1]).await, [Outcome::Delivered]);
}

/// Seen to send what the socket took.
#[tokio::test]
async fn nothing_is_sent_after_the_deadline() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch: Vec<_> = (0..300).map(|_| Arc::new(message(&stream.subject))).collect();
    let mut outcomes = vec![Outcome::Unknown; batch.len()];
    publisher.publish(&batch, Instant::now(), &mut outcomes).await;
    assert!(outcomes.iter().all(|outcome| is_unavailable(outcome, "")), "{:?}", outcomes[0]);
    // What comes later shows that nothing is still under way.
    assert_eq!(publish(&publisher, &[message(&stream.subject)]).await, [Outcome::Delivered]);
    assert_eq!(stream.count().await, 1);
}

#[tokio::test]
async fn who_may_not_publish_is_told_so() {
    let settings = "authorization { users = [\n\
        { user: all, password: pw }\n\
        { user: some, password: pw, permissions { publish { deny: \"secret.>\" } } }\n] }";
    let server = nats(settings).await;
    let with = |account: &str| server.url().replace("://", &format!("://{account}@"));
    let config: NatsConfig = with("all:pw").parse().unwrap();
    let config = NatsConfig {
        create_stream: Some("ALL".to_owned()),
        subjects: vec!["open.>".to_owned(), "secret.>".to_owned()],
        ..config
    };
    connect(config).await;
    let publisher = connect(with("some:pw").parse().unwrap()).await;
    assert_eq!(publisher.check().await, Ok(()));
    let batch: Vec<_> = (0..20).map(|n| message(["open.a", "secret.b"][n % 2])).collect();
    let outcomes = publish(&publisher, &batch).await;
    for (outcome, message) in outcomes.iter().zip(&batch) {
        if message.topic() == "open.a" {
            assert_eq!(outcome, &Outcome::Delivered);
        } else {
            let says = "the account may not publish to the subject `secret.b`";
            assert_eq!(outcome, &Outcome::Unavailable(says.into()));
        }
    }
    let error = NatsPublisher::connect(with("all:canary").parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, NatsError::Connect(_)) && !error.is_retryable(), "{error:?}");
    assert!(!format!("{error:?}").contains("canary"));
}

#[tokio::test]
async fn tokens_let_in() {
    let server = nats("authorization { token: s3cret }").await;
    let with = |token: &str| server.url().replace("://", &format!("://{token}@"));
    let publisher = connect(with("s3cret").parse().unwrap()).await;
    assert_eq!(publisher.check().await, Ok(()));
    assert!(NatsPublisher::connect(with("other").parse().unwrap()).await.is_err());
}

#[tokio::test]
async fn nobody_there_is_an_error_that_may_pass() {
    let config = NatsConfig::new(["127.0.0.1:1"]);
    let error = NatsPublisher::connect(config).await.unwrap_err();
    assert!(matches!(error, NatsError::Connect(_)) && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_tail_reads_what_arrives_from_now_on() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(stream.config()).await;
    publish(&publisher, &[message(&stream.subject)]).await;
    let mut tail = NatsTail::connect(stream.config(), &stream.subject).await.unwrap();
    let sent: Vec<_> = ["a\nb", "b ", "100%"]
        .into_iter()
        .map(|key| {
            let builder = Message::bytes(stream.subject.as_str(), key.to_owned()).key(key);
            let builder = builder.message_type("t").header("z", "1 ").header("a", "2");
            builder.created_at(std::time::UNIX_EPOCH).build().unwrap()
        })
        .collect();
    publish(&publisher, &sent).await;
    for message in sent {
        assert!(tail.next().await.unwrap() == message);
    }
    let error = NatsTail::connect(stream.config(), "nowhere").await.unwrap_err();
    assert_eq!(error.to_string(), "no stream is found for the subject `nowhere`");
}
