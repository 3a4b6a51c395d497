//! Servers and connections that stop, die and come back.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::broker::Tail;
use outbox_core::{Message, Outcome, Publisher};
use outbox_redis::{RedisConfig, RedisPublisher, RedisTail};
use outbox_testkit::faults::Proxy;
use outbox_testkit::servers::redis;

use crate::consumer::{Stream, until};
use crate::streams::{connect, is_unavailable, message, of_size, publish, publish_within};

/// More than sockets hold, so that most of it stays in the client when the server stands still.
pub(crate) fn more_than_sockets_hold(topic: &str) -> Vec<Message> {
    (0..200).map(|_| of_size(topic, 512 * 1024)).collect()
}

/// Publishes until all is delivered, as the relay does.
async fn deliver(publisher: &RedisPublisher, batch: &[Message]) {
    let mut left = batch.to_vec();
    for _ in 0..100 {
        let outcomes = publish_within(publisher, &left, Duration::from_secs(10)).await;
        let mut delivered = outcomes.iter().map(|outcome| *outcome == Outcome::Delivered);
        left.retain(|_| !delivered.next().unwrap());
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} messages are not delivered", left.len());
}

pub(crate) async fn wait_until_count_stays(url: &str, name: &str) -> usize {
    let stream = Stream { name: name.to_owned(), ..Stream::on(url).await };
    let mut count = stream.count().await;
    for _ in 0..60 {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = stream.count().await;
        if now == count {
            return count;
        }
        count = now;
    }
    panic!("more and more arrives")
}

#[tokio::test]
async fn a_server_that_is_down_never_gets_what_was_given_up() {
    let mut server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    assert_eq!(publish(&publisher, &[message(&stream.name)]).await, [Outcome::Delivered]);
    server.kill();
    for _ in 0..3 {
        let batch = [message(&stream.name), message(&stream.name)];
        let outcomes = publish_within(&publisher, &batch, Duration::from_millis(300)).await;
        assert!(!outcomes.contains(&Outcome::Delivered), "{outcomes:?}");
    }
    assert!(publisher.check().await.is_err());
    server.restart().await;
    assert_eq!(wait_until_count_stays(&server.url(), &stream.name).await, 1);
    deliver(&publisher, &[message(&stream.name)]).await;
    assert_eq!(publisher.check().await, Ok(()));
    assert_eq!(wait_until_count_stays(&server.url(), &stream.name).await, 2);
}

#[tokio::test]
async fn what_a_standing_server_did_not_get_it_never_gets() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let batch = more_than_sockets_hold(&stream.name);
    let publisher = connect(stream.config()).await;
    server.pause();
    let outcomes = publish_within(&publisher, &batch, Duration::from_millis(500)).await;
    assert!(!outcomes.contains(&Outcome::Delivered), "{outcomes:?}");
    server.resume();
    let on_the_wire = wait_until_count_stays(&server.url(), &stream.name).await;
    assert!(on_the_wire < 100, "{on_the_wire} messages were sent after they were given up");
    deliver(&publisher, &batch).await;
}

/// The client skips what nobody waits for any more, but not what it has encoded already.
#[tokio::test]
async fn what_is_given_up_ends_its_connection() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    server.pause();
    let batch = [message(&stream.name)];
    let outcomes = publish_within(&publisher, &batch, Duration::from_millis(300)).await;
    assert_ne!(outcomes, [Outcome::Delivered]);
    server.resume();
    for _ in 0..100 {
        let clients: String = stream.command(&["CLIENT", "LIST"]).await;
        if clients.lines().count() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it is still there");
}

/// FAILURES row 60: what the server has acknowledged is on its disk (`appendfsync always`).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_mid_batch_loses_nothing_that_was_delivered() {
    let mut server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = Arc::new(connect(stream.config()).await);
    let batch: Vec<_> = (0..50_000).map(|_| message(&stream.name)).collect();
    // Of the next ones it may not say a word before it dies.
    let (first, next) = batch.split_at(100);
    let mut outcomes = publish(&publisher, first).await;
    let publishing = {
        let (publisher, next) = (publisher.clone(), next.to_vec());
        tokio::spawn(async move { publish(&publisher, &next).await })
    };
    until("some have arrived", async || stream.count().await >= 200).await;
    server.restart().await;
    outcomes.extend(publishing.await.unwrap());
    let stream = Stream { name: stream.name, ..Stream::on(&server.url()).await };
    let arrived: std::collections::HashSet<_> =
        stream.arrived().await.iter().map(Message::id).collect();
    let count = outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count();
    assert!(count >= first.len() && count < batch.len(), "it died in mid-batch: {count}");
    for (message, outcome) in batch.iter().zip(&outcomes) {
        match outcome {
            Outcome::Delivered => assert!(arrived.contains(&message.id())),
            Outcome::Unknown => {}
            _ => panic!("{outcome:?}"),
        }
    }
    deliver(&publisher, &batch[count..count + 10]).await;
}

/// FAILURES row 59: the adapter repeats nothing, and says what may be there. Seen to be called
/// unavailable, which promises that it isn't, while a lost connection was judged like an answer.
#[tokio::test]
async fn a_cut_connection_leaves_unknown_what_was_not_answered() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let proxy = Proxy::start(server.address()).unwrap();
    let publisher = connect(RedisConfig::new(proxy.address().to_string())).await;
    assert_eq!(publish(&publisher, &[message(&stream.name)]).await, [Outcome::Delivered]);
    let held = proxy.hold();
    let batch: Vec<_> = (0..10).map(|_| message(&stream.name)).collect();
    let cutting = async {
        until("all have arrived", async || stream.count().await == 11).await;
        proxy.cut();
    };
    let (outcomes, ()) = tokio::join!(publish(&publisher, &batch), cutting);
    assert_eq!(outcomes, vec![Outcome::Unknown; 10]);
    drop(held);
    deliver(&publisher, &batch).await;
    // Redis doesn't know them again; a consumer does, by their ids.
    let arrived = stream.arrived().await;
    assert_eq!(arrived.len(), 21, "the client itself repeats nothing");
    for message in &batch {
        assert_eq!(arrived.iter().filter(|copy| copy.id() == message.id()).count(), 2);
    }
}

#[tokio::test]
async fn slow_acknowledgements_are_waited_for_until_the_deadline() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch: Vec<_> = (0..10).map(|_| message(&stream.name)).collect();
    server.pause();
    let resuming = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        server.resume();
    };
    let (outcomes, ()) = tokio::join!(publish(&publisher, &batch), resuming);
    assert_eq!(outcomes, vec![Outcome::Delivered; 10]);
    server.pause();
    let late = [message(&stream.name)];
    let outcomes = publish_within(&publisher, &late, Duration::from_millis(300)).await;
    assert_eq!(outcomes, [Outcome::Unknown]);
    server.resume();
    deliver(&publisher, &late).await;
}

/// The other connections that no call uses are as dead as the one that was.
#[tokio::test]
async fn connections_that_died_together_cost_one_batch() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let one = || [message(&stream.name)];
    let batches = [one(), one(), one()];
    let several = batches.iter().map(|batch| publish(&publisher, batch));
    for outcomes in futures::future::join_all(several).await {
        assert_eq!(outcomes, [Outcome::Delivered]);
    }
    assert_eq!(stream.command::<usize>(&["CLIENT", "KILL", "TYPE", "normal"]).await, 3);
    publish(&publisher, &one()).await;
    assert_eq!(publish(&publisher, &one()).await, [Outcome::Delivered]);
}

/// What it finds out by asking first needn't be unknown.
#[tokio::test]
async fn a_connection_that_died_while_idle_costs_no_message() {
    let mut server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    assert_eq!(publish(&publisher, &[message(&stream.name)]).await, [Outcome::Delivered]);
    server.restart().await;
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(publish(&publisher, &[message(&stream.name)]).await, [Outcome::Delivered]);
}

#[tokio::test]
async fn closing_lets_what_is_under_way_end() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let proxy = Proxy::start(server.address()).unwrap();
    let publisher = connect(RedisConfig::new(proxy.address().to_string())).await;
    let batch: Vec<_> = (0..10).map(|_| message(&stream.name)).collect();
    let held = proxy.hold();
    let closing = async {
        until("all have arrived", async || stream.count().await == 10).await;
        let closing = publisher.close();
        let releasing = async {
            // By then it has closed for others.
            let late = publish(&publisher, &[message(&stream.name)]).await;
            assert!(is_unavailable(&late[0], "the publisher is closed"), "{late:?}");
            assert!(publisher.check().await.is_err());
            drop(held);
        };
        tokio::join!(biased; closing, releasing).0
    };
    let (outcomes, closed) = tokio::join!(publish(&publisher, &batch), closing);
    assert_eq!((outcomes, closed), (vec![Outcome::Delivered; 10], Ok(())));
    assert_eq!(stream.count().await, 10);
}

/// Seen to send what fits into the socket.
#[tokio::test]
async fn nothing_is_sent_after_the_deadline() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch: Vec<_> = (0..300).map(|_| message(&stream.name)).collect();
    let outcomes = publish_within(&publisher, &batch, Duration::ZERO).await;
    assert!(outcomes.iter().all(|outcome| is_unavailable(outcome, "")), "{:?}", outcomes[0]);
    assert_eq!(wait_until_count_stays(&server.url(), &stream.name).await, 0);
    assert_eq!(publish(&publisher, &[message(&stream.name)]).await, [Outcome::Delivered]);
}

/// Seen to wait for ever.
#[tokio::test]
async fn a_tail_ends_with_its_connection() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let proxy = Proxy::start(server.address()).unwrap();
    let config = RedisConfig::new(proxy.address().to_string());
    let config = RedisConfig { connect_timeout_ms: 500, ..config };
    let mut tail = RedisTail::connect(config, &stream.name).await.unwrap();
    let _held = proxy.hold_all();
    let next = tokio::time::timeout(Duration::from_mins(1), tail.next()).await;
    assert_eq!(next.expect("it ends").unwrap_err().as_str(), "the Redis server does not answer");
}
