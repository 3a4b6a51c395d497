//! Connections that break, hang, or are closed.

use std::time::Duration;

use lapin::options::QueueDeleteOptions;
use outbox_core::{Outcome, Publisher as _};
use outbox_rabbitmq::RabbitMqPublisher;
use outbox_testkit::faults::Proxy;
use outbox_testkit::suite::publisher::PublisherHarness as _;

use crate::rabbit::{Rabbit, publish, publish_within, unique};

/// A publisher that reaches the broker through a proxy.
pub(crate) async fn behind(rabbit: &Rabbit, options: &str) -> (Proxy, RabbitMqPublisher) {
    let mut config = rabbit.config(options);
    let proxy = Proxy::start(config.servers.remove(0).parse().unwrap()).unwrap();
    config.servers = vec![proxy.address().to_string()];
    let publisher = RabbitMqPublisher::connect(config).await.unwrap();
    // With a channel: opening one waits for an answer.
    assert_eq!(publisher.check().await, Ok(()));
    (proxy, publisher)
}

#[tokio::test]
async fn a_cut_in_mid_batch_leaves_what_was_sent_unknown() {
    let rabbit = Rabbit::open().await;
    let (proxy, publisher) = behind(&rabbit, "").await;
    assert_eq!(publish(&publisher, &rabbit.messages(2)).await, vec![Outcome::Delivered; 2]);
    let held = proxy.hold();
    let sent = rabbit.messages(50);
    let cut = async {
        // Until the broker has them all, though nobody hears of it.
        rabbit.wait_for(52).await;
        proxy.cut();
    };
    let (outcomes, ()) = tokio::join!(publish(&publisher, &sent), cut);
    assert_eq!(outcomes, vec![Outcome::Unknown; 50]);
    drop(held);
    assert_eq!(publish(&publisher, &sent).await, vec![Outcome::Delivered; 50], "it reconnects");
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached_is_unavailable() {
    let rabbit = Rabbit::open().await;
    let (proxy, publisher) = behind(&rabbit, "").await;
    proxy.cut();
    drop(proxy);
    // The client may take the first for sent before it has noticed.
    publish(&publisher, &rabbit.messages(3)).await;
    for patience in [0, 1, 10] {
        let patience = Duration::from_secs(patience);
        let outcomes = publish_within(&publisher, &rabbit.messages(3), patience).await;
        // Seen to be unknown with a deadline that has passed.
        let unavailable = |outcome: &Outcome| matches!(outcome, Outcome::Unavailable(_));
        assert!(outcomes.iter().all(unavailable), "{outcomes:?}");
    }
    assert!(publisher.check().await.is_err());
    assert_eq!(rabbit.arrived().await, []);
}

/// A broker that takes the connection and then says nothing.
#[tokio::test]
async fn connecting_ends_at_the_deadline() {
    let rabbit = Rabbit::open().await;
    let (proxy, publisher) = behind(&rabbit, "").await;
    let held = proxy.hold_all();
    proxy.cut();
    let soon = Duration::from_millis(500);
    for _ in 0..2 {
        let outcomes = publish_within(&publisher, &rabbit.messages(2), soon).await;
        let quiet =
            |outcome: &Outcome| matches!(outcome, Outcome::Unavailable(_) | Outcome::Unknown);
        assert!(outcomes.iter().all(quiet), "{outcomes:?}");
    }
    drop(held);
    assert_eq!(publish(&publisher, &[rabbit.message()]).await, [Outcome::Delivered]);
}

/// Each publish waits for less than one attempt to connect may take. Seen to fail, for ever, while
/// every attempt began with the first server.
#[tokio::test]
async fn a_server_that_hangs_is_not_the_first_to_be_tried_again() {
    let rabbit = Rabbit::open().await;
    let mut config = rabbit.config("connect_timeout_ms=60000");
    let proxy = Proxy::start(config.servers[0].parse().unwrap()).unwrap();
    config.servers.insert(0, proxy.address().to_string());
    let publisher = RabbitMqPublisher::connect(config).await.unwrap();
    assert_eq!(publish(&publisher, &[rabbit.message()]).await, [Outcome::Delivered]);
    // It takes connections, and is silent.
    let held = proxy.hold_all();
    proxy.cut();
    let mut outcomes = Vec::new();
    for _ in 0..5 {
        let soon = Duration::from_secs(2);
        outcomes.extend(publish_within(&publisher, &[rabbit.message()], soon).await);
    }
    assert_eq!(outcomes[4], Outcome::Delivered, "{outcomes:?}");
    drop(held);
}

/// FAILURES row 55: confirmations that never come.
#[tokio::test]
async fn what_is_confirmed_in_time_is_delivered_though_others_are_not() {
    let rabbit = Rabbit::open().await;
    let (proxy, publisher) = behind(&rabbit, "").await;
    let held = proxy.hold();
    let soon = Duration::from_secs(1);
    let outcomes = publish_within(&publisher, &rabbit.messages(5), soon).await;
    assert_eq!(outcomes, vec![Outcome::Unknown; 5]);
    // What they left behind belongs to nobody.
    drop(held);
    let lost = unique("nowhere");
    let sent = [rabbit.message(), crate::rabbit::bytes(&lost, 7), rabbit.message()];
    let outcomes = publish(&publisher, &sent).await;
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
    assert!(matches!(outcomes[1], Outcome::Rejected(_)), "{outcomes:?}");
    assert_eq!(rabbit.arrived().await.len(), 7);
}

/// FAILURES row 55: closing takes no confirmation away.
#[tokio::test]
async fn closing_lets_what_is_under_way_end() {
    let rabbit = Rabbit::open().await;
    let (proxy, publisher) = behind(&rabbit, "connect_timeout_ms=1000").await;
    let held = proxy.hold();
    let sent = rabbit.messages(20);
    let release = async {
        rabbit.wait_for(20).await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        // Behind one that closes. Seen to wait as long as that does, and to say "closed".
        let late = publish_within(&publisher, &sent, Duration::from_millis(200)).await;
        let closing = Outcome::Unavailable("the publisher is being closed".into());
        assert_eq!(late, vec![closing; 20]);
        assert_eq!(publisher.check().await, Err("the publisher is being closed".into()));
        drop(held);
    };
    let close = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        publisher.close().await
    };
    let (outcomes, closed, ()) = tokio::join!(publish(&publisher, &sent), close, release);
    assert_eq!((outcomes, closed), (vec![Outcome::Delivered; 20], Ok(())));
    assert_eq!(publisher.close().await, Ok(()), "twice is once");
    assert!(publisher.check().await.is_err());
    let delete = QueueDeleteOptions::default();
    rabbit.channel.queue_delete(rabbit.queue.as_str().into(), delete).await.unwrap();
}
