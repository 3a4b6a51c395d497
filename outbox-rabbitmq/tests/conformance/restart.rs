//! A broker that crashes, or stands still.

use std::time::Duration;

use outbox_core::{Outcome, Publisher as _};
use outbox_testkit::servers::{rabbitmq, rabbitmqctl};
use outbox_testkit::suite::publisher::PublisherHarness as _;

use crate::rabbit::{Rabbit, connect, deliver_at_last, publish, publish_within};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_crash_in_mid_batch_loses_nothing_that_was_delivered() {
    let mut server = rabbitmq("", "").await;
    // Not a quorum queue: one of RabbitMQ 3.10 with a single member may find no leader after a crash
    // as long as clients ask for it.
    let rabbit = Rabbit::at(server.url(), &[]).await;
    // The broker confirms a declaration before it has written it.
    rabbitmqctl(&server, &["eval", "mnesia:sync_log()."]).await;
    let publisher = std::sync::Arc::new(connect(&server.url()).await);
    assert_eq!(publish(&*publisher, &rabbit.messages(1)).await, [Outcome::Delivered]);
    let sent: Vec<_> = (0..200).map(|_| rabbit.messages(100)).collect();
    let publishing = {
        let (publisher, sent) = (publisher.clone(), sent.clone());
        tokio::spawn(async move {
            let mut outcomes = Vec::new();
            for batch in &sent {
                outcomes.extend(publish(&*publisher, batch).await);
            }
            outcomes
        })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    server.kill();
    let outcomes = publishing.await.unwrap();
    let expected = |outcome: &Outcome| {
        matches!(outcome, Outcome::Delivered | Outcome::Unknown | Outcome::Unavailable(_))
    };
    assert!(outcomes.iter().all(expected), "{outcomes:?}");
    assert!(!outcomes.iter().all(|outcome| *outcome == Outcome::Delivered), "it was too late");
    assert!(publisher.check().await.is_err());
    server.start_again().await;
    let again = rabbit.message();
    deliver_at_last(&*publisher, &again).await;
    assert_eq!(publisher.check().await, Ok(()));
    // The reader's connection died, too.
    let queue = rabbit.queue.clone();
    let reader = Rabbit::at(server.url(), &[]).await;
    let arrived: std::collections::HashSet<_> =
        reader.arrived_in(&queue).await.iter().map(outbox_core::Message::id).collect();
    assert!(arrived.contains(&again.id()));
    for (message, outcome) in sent.iter().flatten().zip(&outcomes) {
        assert!(arrived.contains(&message.id()) || *outcome != Outcome::Delivered, "lost");
        let never = matches!(outcome, Outcome::Unavailable(_));
        assert!(!never || !arrived.contains(&message.id()), "unavailable, but there");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_stands_still_makes_it_unknown_at_the_deadline() {
    let server = rabbitmq("", "").await;
    let rabbit = Rabbit::at(server.url(), &[]).await;
    let publisher = connect(&format!("{}?connect_timeout_ms=2000", server.url())).await;
    let sent = rabbit.messages(20);
    assert_eq!(publish(&publisher, &sent).await, vec![Outcome::Delivered; 20]);
    server.pause();
    let soon = Duration::from_millis(500);
    assert_eq!(publish_within(&publisher, &sent, soon).await, vec![Outcome::Unknown; 20]);
    assert!(publisher.check().await.is_err());
    // One that is only slow.
    let slow = tokio::spawn({
        let sent = sent.clone();
        async move { (publish(&publisher, &sent).await, publisher) }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    server.resume();
    let (outcomes, publisher) = slow.await.unwrap();
    assert_eq!(outcomes, vec![Outcome::Delivered; 20]);
    assert_eq!(publisher.close().await, Ok(()));
    // Those that were unknown may be there, too.
    assert!((40..=60).contains(&rabbit.arrived().await.len()));
}
