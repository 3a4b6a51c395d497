//! Subjects from which no answer comes.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::stream::Config;
use outbox_core::{Message, Outcome, Publisher};
use outbox_nats::{NatsConfig, NatsPublisher};

use super::nats;
use crate::consumer::Stream;
use crate::publishing::{connect, is_unavailable, message, publish_within};

/// A deadline that no test waits for, and yet one for the test.
async fn publish_soon(publisher: &NatsPublisher, batch: &[Message]) -> Vec<Outcome> {
    let publishing = publish_within(publisher, batch, Duration::from_mins(10));
    tokio::time::timeout(Duration::from_mins(1), publishing).await.expect("it does not wait")
}

/// FAILURES row 50: somebody who listens takes the place of the server's word that nobody does.
/// Seen to wait for the deadline, and then to be unknown, when nobody asked for the stream.
#[tokio::test]
async fn who_only_listens_is_no_stream() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let listener = async_nats::connect(server.url()).await.unwrap();
    let _listening = listener.subscribe("logs.>").await.unwrap();
    listener.flush().await.unwrap();
    let config = stream.config();
    let publisher = connect(NatsConfig { reject_without_stream: true, ..config.clone() }).await;
    let few = [message(&stream.subject), message("logs.a"), message(&stream.subject)];
    let many = (0..300).map(|_| message("logs.b"));
    let batch: Vec<_> = few.into_iter().chain(many).collect();
    let outcomes = publish_soon(&publisher, &batch).await;
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
    let says = |subject| format!("no stream takes the subject `{subject}`: create one");
    assert_eq!(outcomes[1], Outcome::Rejected(says("logs.a").into()));
    let rejected = Outcome::Rejected(says("logs.b").into());
    assert!(outcomes[3..].iter().all(|outcome| *outcome == rejected), "{outcomes:?}");
    // Where there may be streams elsewhere, one of them may still acknowledge.
    let publisher = connect(config).await;
    let outcomes = publish_within(&publisher, &batch[..3], Duration::from_secs(2)).await;
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
    assert!(is_unavailable(&outcomes[1], "no stream takes the subject `logs.a`"), "{outcomes:?}");
}

/// Seen to be starved when one subject could have every permit.
#[tokio::test]
async fn a_silent_stream_leaves_room_for_others() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let no_ack = Config { no_ack: true, ..Config::default() };
    let silent = Stream::create_as(&server.url(), no_ack).await;
    let publisher = connect(NatsConfig { max_pending: 16, ..stream.config() }).await;
    let silent = (0..50).map(|_| Arc::new(message(&silent.subject)));
    let good = (0..50).map(|_| Arc::new(message(&stream.subject)));
    let batch: Vec<_> = silent.chain(good).collect();
    let mut outcomes = vec![Outcome::Unknown; 100];
    let publishing =
        publisher.publish(&batch, Instant::now() + Duration::from_mins(10), &mut outcomes);
    let watching = async {
        for _ in 0..600 {
            if stream.count().await == 50 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("they wait for the silent ones");
    };
    tokio::select! {
        () = publishing => panic!("it has a silent stream to wait for"),
        () = watching => {}
    }
    // What one of a key waits for, the next waits for, too.
    let of_key = |topic: &str| Arc::new(Message::bytes(topic, "").key("k").build().unwrap());
    let silent = &batch[0].topic();
    let batch = [of_key(silent), of_key(silent), of_key(silent), of_key(&stream.subject)];
    let mut outcomes = vec![Outcome::Unknown; 4];
    publisher.publish(&batch, Instant::now() + Duration::from_secs(1), &mut outcomes).await;
    assert!(is_unavailable(&outcomes[3], "deadline"), "{outcomes:?}");
}

/// The account may ask for no stream, and the server doesn't answer to who asks nevertheless.
/// Seen to wait for each answer, one after the other, as long as for a connection.
#[tokio::test]
async fn questions_that_are_denied_are_not_waited_for() {
    let settings = "authorization { users = [\n\
        { user: all, password: pw }\n\
        { user: some, password: pw, permissions { publish { deny: \"$JS.API.>\" } } }\n] }";
    let server = nats(settings).await;
    let with = |account: &str| server.url().replace("://", &format!("://{account}@"));
    let config = NatsConfig {
        create_stream: Some("A".to_owned()),
        subjects: vec!["a".to_owned()],
        ..with("all:pw").parse().unwrap()
    };
    connect(config).await;
    let config: NatsConfig = with("some:pw").parse().unwrap();
    let publisher = connect(NatsConfig { connect_timeout_ms: 600_000, ..config }).await;
    let batch = ["a", "none-1", "none-2", "none-3", "a"].map(message);
    let outcomes = publish_soon(&publisher, &batch).await;
    assert_eq!([&outcomes[0], &outcomes[4]], [&Outcome::Delivered; 2]);
    for outcome in &outcomes[1..4] {
        assert!(is_unavailable(outcome, "no stream answers for the subject"), "{outcome:?}");
    }
}
