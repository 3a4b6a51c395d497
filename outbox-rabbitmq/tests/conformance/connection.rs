//! Connections that break, hang, or are closed.

use std::time::Duration;

use lapin::options::QueueDeleteOptions;
use outbox_core::{Outcome, Publisher as _};
use outbox_rabbitmq::{RabbitMqConfig, RabbitMqPublisher};
use outbox_testkit::faults::Proxy;
use outbox_testkit::suite::publisher::PublisherHarness as _;

use crate::rabbit::{Rabbit, publish, publish_within, unique};
use crate::server::skip;

/// A publisher that reaches the broker through a proxy.
pub(crate) async fn behind(rabbit: &Rabbit, options: &str) -> (Proxy, RabbitMqPublisher) {
    let mut config: RabbitMqConfig = format!("{}?{options}", rabbit.url).parse().unwrap();
    let proxy = Proxy::start(config.hosts.remove(0).parse().unwrap()).await.unwrap();
    config.hosts = vec![proxy.address().to_string()];
    let publisher = RabbitMqPublisher::connect(config).await.unwrap();
    // With a channel: opening one waits for an answer.
    assert_eq!(publisher.check().await, Ok(()));
    (proxy, publisher)
}

#[tokio::test]
async fn a_cut_in_mid_batch_leaves_what_was_sent_unknown() {
    let Ok(rabbit) = Rabbit::open().await.map_err(|reason| skip(&reason)) else { return };
    let (proxy, publisher) = behind(&rabbit, "").await;
    assert_eq!(publish(&publisher, &rabbit.messages(2)).await, vec![Outcome::Delivered; 2]);
    let held = proxy.hold();
    let sent = rabbit.messages(50);
    let cut = async {
        // Until the broker has them all, though nobody hears of it.
        while rabbit.arrived().await.len() < 52 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        proxy.cut();
    };
    let (outcomes, ()) = tokio::join!(publish(&publisher, &sent), cut);
    assert_eq!(outcomes, vec![Outcome::Unknown; 50]);
    drop(held);
    assert_eq!(publish(&publisher, &sent).await, vec![Outcome::Delivered; 50], "it reconnects");
}

#[tokio::test]
async fn a_broker_that_cannot_be_reached_is_unavailable() {
    let Ok(rabbit) = Rabbit::open().await.map_err(|reason| skip(&reason)) else { return };
    let (proxy, publisher) = behind(&rabbit, "").await;
    proxy.cut();
    drop(proxy);
    for patience in [0, 1, 10] {
        let patience = Duration::from_secs(patience);
        let outcomes = publish_within(&publisher, &rabbit.messages(3), patience).await;
        let sent_nothing =
            |outcome: &Outcome| matches!(outcome, Outcome::Unavailable(_) | Outcome::Unknown);
        assert!(outcomes.iter().all(sent_nothing), "{outcomes:?}");
    }
    let outcomes = publish(&publisher, &rabbit.messages(3)).await;
    let unavailable = |outcome: &Outcome| matches!(outcome, Outcome::Unavailable(_));
    assert!(outcomes.iter().all(unavailable), "{outcomes:?}");
    assert!(publisher.check().await.is_err());
    assert_eq!(rabbit.arrived().await, []);
}

/// A broker that takes the connection and then says nothing.
#[tokio::test]
async fn connecting_ends_at_the_deadline() {
    let Ok(rabbit) = Rabbit::open().await.map_err(|reason| skip(&reason)) else { return };
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

/// Row 55: confirmations that never come.
#[tokio::test]
async fn what_is_confirmed_in_time_is_delivered_though_others_are_not() {
    let Ok(rabbit) = Rabbit::open().await.map_err(|reason| skip(&reason)) else { return };
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

#[tokio::test]
async fn closing_lets_what_is_under_way_end() {
    let Ok(rabbit) = Rabbit::open().await.map_err(|reason| skip(&reason)) else { return };
    let (proxy, publisher) = behind(&rabbit, "").await;
    let held = proxy.hold();
    let sent = rabbit.messages(20);
    let release = async {
        while rabbit.arrived().await.len() < 20 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
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
