//! What Redis answers, and what becomes of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::broker::Tail;
use outbox_core::{Limits, Message, Outcome, Publisher};
use outbox_redis::{RedisConfig, RedisError, RedisPublisher, RedisTail};
use outbox_testkit::servers::redis;

use crate::consumer::Stream;

pub(crate) async fn connect(config: RedisConfig) -> RedisPublisher {
    RedisPublisher::connect(config).await.unwrap()
}

pub(crate) async fn publish(publisher: &RedisPublisher, batch: &[Message]) -> Vec<Outcome> {
    publish_within(publisher, batch, Duration::from_secs(20)).await
}

pub(crate) async fn publish_within(
    publisher: &RedisPublisher,
    batch: &[Message],
    time: Duration,
) -> Vec<Outcome> {
    let batch: Vec<_> = batch.iter().cloned().map(Arc::new).collect();
    let mut outcomes = vec![Outcome::Unknown; batch.len()];
    let call = publisher.publish(&batch, Instant::now() + time, &mut outcomes);
    tokio::time::timeout(time + Duration::from_secs(20), call).await.expect("it has a deadline");
    outcomes
}

pub(crate) fn message(topic: &str) -> Message {
    Message::bytes(topic, "payload").build().unwrap()
}

pub(crate) fn of_size(topic: &str, size: usize) -> Message {
    let limits = Limits { payload: size, ..Limits::default() };
    Message::bytes(topic, vec![7; size]).build_within(&limits).unwrap()
}

pub(crate) fn is_unavailable(outcome: &Outcome, says: &str) -> bool {
    matches!(outcome, Outcome::Unavailable(reason) if reason.as_str().contains(says))
}

#[tokio::test]
async fn a_key_that_is_no_stream_rejects_and_others_are_not_affected() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    stream.command::<()>(&["SET", "taken", "1"]).await;
    let publisher = connect(stream.config()).await;
    let batch = [message(&stream.name), message("taken"), message(&stream.name)];
    let outcomes = publish(&publisher, &batch).await;
    let Outcome::Rejected(reason) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().contains("WRONGTYPE"), "{reason}");
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
    assert_eq!(stream.count().await, 2);
}

#[tokio::test]
async fn a_missing_stream_is_rejected_where_none_is_created() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(RedisConfig { create_stream: false, ..stream.config() }).await;
    let batch = [message(&stream.name)];
    let says = "there is no such stream: create it, or set `create_stream`";
    assert_eq!(publish(&publisher, &batch).await, [Outcome::Rejected(says.into())]);
    stream.command::<()>(&["XGROUP", "CREATE", &stream.name, "g", "$", "MKSTREAM"]).await;
    assert_eq!(publish(&publisher, &batch).await, [Outcome::Delivered]);
}

/// FAILURES row 60. Seen to lose the oldest with a `MAXLEN` that nobody asked for.
#[tokio::test]
async fn nothing_is_trimmed_unless_that_is_asked_for() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let batch: Vec<_> = (0..500).map(|_| message(&stream.name)).collect();
    let publisher = connect(stream.config()).await;
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 500]);
    assert_eq!(stream.count().await, 500);
    let trimming = connect(RedisConfig { maxlen: Some(10), ..stream.config() }).await;
    assert_eq!(publish(&trimming, &batch).await, vec![Outcome::Delivered; 500]);
    assert!(stream.count().await < 500);
}

#[tokio::test]
async fn nobody_there_is_an_error_that_may_pass() {
    let error = RedisPublisher::connect(RedisConfig::new("127.0.0.1:1")).await.unwrap_err();
    assert!(matches!(error, RedisError::Connect(_)) && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn a_tail_reads_what_arrives_from_now_on() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let mut empty = RedisTail::connect(stream.config(), &stream.name).await.unwrap();
    publish(&publisher, &[message(&stream.name)]).await;
    let mut tail = RedisTail::connect(stream.config(), &stream.name).await.unwrap();
    let sent: Vec<_> = ["a\nb", "b ", "100%"]
        .into_iter()
        .map(|key| {
            let builder = Message::bytes(stream.name.as_str(), key.to_owned()).key(key);
            let builder = builder.message_type("t").header("z", "1 ").header("a", "2");
            builder.created_at(std::time::UNIX_EPOCH).build().unwrap()
        })
        .collect();
    publish(&publisher, &sent).await;
    assert_eq!(empty.next().await.unwrap().payload(), "payload");
    for message in &sent {
        assert!(empty.next().await.unwrap() == *message);
        assert!(tail.next().await.unwrap() == *message);
    }
}
