//! What the client still holds when a publish ends is never sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::{Outcome, Publisher};
use outbox_redis::RedisConfig;
use outbox_testkit::faults::Proxy;
use outbox_testkit::servers::redis;

use crate::consumer::Stream;
use crate::faults::{more_than_sockets_hold, wait_until_count_stays};
use crate::streams::{connect, message, of_size, publish, publish_within};

/// On several threads, where the client's task may be writing at that moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_takes_back_what_was_not_written() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let proxy = Proxy::start(server.address()).unwrap();
    let publisher = connect(RedisConfig::new(proxy.address().to_string())).await;
    let batch: Vec<_> = more_than_sockets_hold(&stream.name).into_iter().map(Arc::new).collect();
    assert_eq!(publish(&publisher, &[message(&stream.name)]).await, [Outcome::Delivered]);
    let held = proxy.hold_all();
    let mut outcomes = vec![Outcome::Unknown; batch.len()];
    let deadline = Instant::now() + Duration::from_mins(1);
    let call = publisher.publish(&batch, deadline, &mut outcomes);
    tokio::time::timeout(Duration::from_millis(500), call).await.unwrap_err();
    drop(held);
    let arrived = wait_until_count_stays(&server.url(), &stream.name).await;
    assert!(arrived < 50, "{arrived} messages were sent after they were given up");
}

/// Many small pipelines, of which the sockets hold the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_takes_back_what_was_not_written() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch: Vec<_> = (0..400).map(|_| of_size(&stream.name, 64 * 1024)).collect();
    assert_eq!(publish(&publisher, &[message(&stream.name)]).await, [Outcome::Delivered]);
    server.pause();
    let outcomes = publish_within(&publisher, &batch, Duration::from_millis(500)).await;
    assert!(!outcomes.contains(&Outcome::Delivered), "{:?}", outcomes[0]);
    server.resume();
    let arrived = wait_until_count_stays(&server.url(), &stream.name).await;
    assert!(arrived < 30, "{arrived} messages were sent after they were given up");
}
