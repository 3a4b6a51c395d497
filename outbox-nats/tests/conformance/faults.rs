//! Servers and connections that stop, die and come back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::{Limits, Message, Outcome, Publisher};
use outbox_nats::{NatsConfig, NatsPublisher};
use outbox_testkit::faults::Proxy;
use outbox_testkit::servers::Server;

use super::nats;
use crate::consumer::Stream;
use crate::publishing::{connect, message, publish, publish_within};

/// More than sockets hold, so that most of it stays in the client when the server stands still.
fn more_than_sockets_hold(topic: &str) -> Vec<Message> {
    let size = 512 * 1024;
    let limits = Limits { payload: size, ..Limits::default() };
    let message = || Message::bytes(topic, vec![7; size]).build_within(&limits).unwrap();
    (0..200).map(|_| message()).collect()
}

/// Publishes until all is delivered, as the relay does.
async fn deliver(publisher: &NatsPublisher, batch: &[Message]) {
    let mut left = batch.to_vec();
    for _ in 0..100 {
        let outcomes = publish_within(publisher, &left, Duration::from_secs(5)).await;
        let mut delivered = outcomes.iter().map(|outcome| *outcome == Outcome::Delivered);
        left.retain(|_| !delivered.next().unwrap());
        if left.is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{} messages are not delivered", left.len());
}

async fn wait_until_count_stays(stream: &Stream) -> u64 {
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

async fn wait_until_count_is(stream: &Stream, least: u64) {
    for _ in 0..6_000 {
        if stream.count().await >= least {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it does not arrive")
}

#[tokio::test]
async fn a_server_that_is_down_never_gets_what_was_given_up() {
    let mut server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let delivered = message(&stream.subject);
    assert_eq!(publish(&publisher, &[delivered]).await, [Outcome::Delivered]);
    server.kill();
    for _ in 0..3 {
        let batch = [message(&stream.subject), message(&stream.subject)];
        let outcomes = publish_within(&publisher, &batch, Duration::from_millis(300)).await;
        assert!(!outcomes.contains(&Outcome::Delivered), "{outcomes:?}");
    }
    assert!(publisher.check().await.is_err());
    server.restart().await;
    assert_eq!(wait_until_count_stays(&stream).await, 1);
    deliver(&publisher, &[message(&stream.subject)]).await;
    assert_eq!(publisher.check().await, Ok(()));
    assert_eq!(stream.count().await, 2);
}

#[tokio::test]
async fn what_a_standing_server_did_not_get_it_never_gets() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch = more_than_sockets_hold(&stream.subject);
    server.pause();
    let outcomes = publish_within(&publisher, &batch, Duration::from_millis(500)).await;
    assert!(!outcomes.contains(&Outcome::Delivered), "{outcomes:?}");
    server.resume();
    let on_the_wire = wait_until_count_stays(&stream).await;
    assert!(on_the_wire < 100, "{on_the_wire} messages were sent after they were given up");
    deliver(&publisher, &batch).await;
    assert_eq!(stream.count().await, 200, "what is sent again is stored once");
}

#[tokio::test]
async fn what_waits_in_the_client_when_the_server_dies_is_not_sent_to_the_next() {
    let mut server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch = more_than_sockets_hold(&stream.subject);
    server.pause();
    let publishing = publish(&publisher, &batch);
    let dying = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        server.restart().await;
    };
    let (outcomes, ()) = tokio::join!(publishing, dying);
    assert!(!outcomes.contains(&Outcome::Delivered), "{outcomes:?}");
    let unknown = outcomes.iter().filter(|outcome| **outcome == Outcome::Unknown).count();
    assert!(unknown > 0, "what may have been sent is unknown");
    assert_eq!(wait_until_count_stays(&stream).await, 0);
    deliver(&publisher, &batch[..3]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_killed_in_mid_batch_loses_nothing_that_was_delivered() {
    let mut server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = Arc::new(connect(stream.config()).await);
    let batch: Vec<_> = (0..20_000).map(|_| message(&stream.subject)).collect();
    let publishing = {
        let (publisher, batch) = (publisher.clone(), batch.clone());
        tokio::spawn(async move { publish(&publisher, &batch).await })
    };
    wait_until_count_is(&stream, 100).await;
    server.restart().await;
    let outcomes = publishing.await.unwrap();
    let arrived: Vec<_> = stream.arrived().await.iter().map(Message::id).collect();
    let delivered = |outcome: &&Outcome| **outcome == Outcome::Delivered;
    let count = outcomes.iter().filter(delivered).count();
    assert!(count > 0 && count < batch.len(), "it died in mid-batch: {count}");
    for (message, outcome) in batch.iter().zip(&outcomes) {
        assert!(*outcome != Outcome::Delivered || arrived.contains(&message.id()));
        assert!(!matches!(outcome, Outcome::Failed(_) | Outcome::Rejected(_)), "{outcome:?}");
    }
    let rest: Vec<_> =
        batch.iter().zip(&outcomes).filter(|(_, o)| **o != Outcome::Delivered).collect();
    let rest: Vec<_> = rest.into_iter().map(|(message, _)| message.clone()).collect();
    deliver(&publisher, &rest).await;
    assert_eq!(stream.count().await, 20_000, "each once: what was stored is known by its id");
}

#[tokio::test]
async fn a_cut_connection_leaves_unknown_what_was_not_answered() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let proxy = Proxy::start(server.address()).unwrap();
    let publisher = connect(NatsConfig::new([proxy.address().to_string()])).await;
    let before = message(&stream.subject);
    assert_eq!(publish(&publisher, &[before]).await, [Outcome::Delivered]);
    let held = proxy.hold();
    let batch: Vec<_> = (0..10).map(|_| message(&stream.subject)).collect();
    let cutting = async {
        wait_until_count_is(&stream, 11).await;
        proxy.cut();
    };
    let (outcomes, ()) = tokio::join!(publish(&publisher, &batch), cutting);
    assert_eq!(outcomes, vec![Outcome::Unknown; 10]);
    drop(held);
    deliver(&publisher, &batch).await;
    assert_eq!(stream.count().await, 11, "what is sent again is stored once");
}

#[tokio::test]
async fn slow_acknowledgements_are_waited_for_until_the_deadline() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch: Vec<_> = (0..10).map(|_| message(&stream.subject)).collect();
    server.pause();
    let resuming = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.resume();
    };
    let (outcomes, ()) = tokio::join!(publish(&publisher, &batch), resuming);
    assert_eq!(outcomes, vec![Outcome::Delivered; 10]);
    server.pause();
    let late = [message(&stream.subject)];
    let outcomes = publish_within(&publisher, &late, Duration::from_millis(300)).await;
    assert_eq!(outcomes, [Outcome::Unknown]);
    server.resume();
    deliver(&publisher, &late).await;
    assert_eq!(stream.count().await, 11);
}

#[tokio::test]
async fn no_more_messages_wait_for_their_acknowledgement_than_may() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let proxy = Proxy::start(server.address()).unwrap();
    let servers = [proxy.address().to_string()];
    let publisher = connect(NatsConfig { max_pending: 16, ..NatsConfig::new(servers) }).await;
    let held = proxy.hold();
    // One subject that hasn't answered yet may have two.
    let subject = |n: usize| format!("{}.{}", stream.subject, n % 10);
    let batch: Vec<_> = (0..50).map(|n| message(&subject(n))).collect();
    let releasing = async {
        wait_until_count_is(&stream, 16).await;
        assert_eq!(wait_until_count_stays(&stream).await, 16);
        drop(held);
    };
    let (outcomes, ()) = tokio::join!(publish(&publisher, &batch), releasing);
    assert_eq!(outcomes, vec![Outcome::Delivered; 50]);
    assert_eq!(stream.count().await, 50);
}

/// A stream that doesn't answer must not cost others their connection.
#[tokio::test]
async fn what_is_known_to_be_sent_costs_no_connection() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let config = async_nats::jetstream::stream::Config { no_ack: true, ..<_>::default() };
    let silent = Stream::create_as(&server.url(), config).await;
    let publisher = connect(stream.config()).await;
    let quick = [message(&stream.subject)];
    let batch = [Arc::new(message(&silent.subject))];
    let mut outcomes = [Outcome::Unknown];
    let silence = publisher.publish(&batch, in_a_while(), &mut outcomes);
    let others = async {
        wait_until_count_is(&silent, 1).await;
        publish(&publisher, &quick).await
    };
    // It is given up once the answer to the other has shown that both are sent.
    let delivered = tokio::select! {
        () = silence => panic!("it waits for its deadline"),
        delivered = others => delivered,
    };
    assert_eq!((outcomes, delivered), ([Outcome::Unknown], vec![Outcome::Delivered]));
    let before = connections(&server).await;
    assert_eq!(publish(&publisher, &quick).await, [Outcome::Delivered]);
    assert_eq!(connections(&server).await, before, "it is still the same connection");
}

/// How many connections the server has had so far, by the number it gives to the next.
async fn connections(server: &Server) -> u64 {
    let client = async_nats::connect(server.url()).await.unwrap();
    let own = client.server_info().client_id;
    own - ASKED.fetch_add(1, std::sync::atomic::Ordering::SeqCst)
}

static ASKED: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);

/// A deadline that no test waits for.
fn in_a_while() -> Instant {
    Instant::now() + Duration::from_mins(10)
}

#[tokio::test]
async fn closing_lets_what_is_under_way_end() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let proxy = Proxy::start(server.address()).unwrap();
    let publisher = connect(NatsConfig::new([proxy.address().to_string()])).await;
    let batch: Vec<_> = (0..10).map(|_| message(&stream.subject)).collect();
    let held = proxy.hold();
    let closing = async {
        wait_until_count_is(&stream, 10).await;
        let closing = publisher.close();
        let releasing = async {
            // By then it has closed for others.
            let late = publish(&publisher, &[message(&stream.subject)]).await;
            assert!(matches!(late[..], [Outcome::Unavailable(_)]), "{late:?}");
            drop(held);
        };
        tokio::join!(biased; closing, releasing).0
    };
    let (outcomes, closed) = tokio::join!(publish(&publisher, &batch), closing);
    assert_eq!((outcomes, closed), (vec![Outcome::Delivered; 10], Ok(())));
    assert_eq!(stream.count().await, 10);
}
