//! The fence, while connections and brokers die.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use outbox_core::{Message, Outcome};
use outbox_kafka::KafkaPublisher;
use uuid::Uuid;

use crate::broker::{PATIENCE, new_topic};
use crate::consumer;
use crate::fencing::publish_under;
use crate::publishing::{connect, messages};
use crate::server::Server;

/// A broker of the test's own, a URL with a fence, and a topic.
pub(crate) async fn own() -> (Server, String, String) {
    let server = Server::start().await;
    let topic = new_topic(&server.direct(), &[]).await;
    let fence = new_topic(&server.direct(), &[]).await;
    let url = format!("{}?fence={fence}", server.url());
    (server, url, topic)
}

/// Publishes until all is delivered, as the relay does.
pub(crate) async fn deliver_at_last(publisher: &KafkaPublisher, epoch: i64, sent: &[Message]) {
    let mut left = sent.to_vec();
    let by = Instant::now() + PATIENCE * 2;
    while !left.is_empty() {
        assert!(Instant::now() < by, "{} messages are not delivered", left.len());
        let outcomes = publish_under(publisher, epoch, &left, Duration::from_secs(5)).await;
        let mut delivered = outcomes.iter().map(|outcome| *outcome == Outcome::Delivered);
        left.retain(|_| !delivered.next().unwrap());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn arrivals(server: &Server, topic: &str) -> HashMap<Uuid, usize> {
    let mut arrivals = HashMap::new();
    for message in consumer::read(&server.direct(), topic).await {
        *arrivals.entry(message.id()).or_default() += 1;
    }
    arrivals
}

#[tokio::test]
async fn a_connection_cut_in_mid_batch_makes_no_duplicate() {
    let (server, url, topic) = own().await;
    let publisher = connect(&url).await;
    deliver_at_last(&publisher, 1, &messages(&topic, 50)).await;
    let sent = messages(&topic, 100);
    let held = server.proxy.hold();
    let publish = publish_under(&publisher, 1, &sent, PATIENCE);
    let cut = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.proxy.cut();
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(held);
    };
    let (outcomes, ()) = tokio::join!(publish, cut);
    let before = arrivals(&server, &topic).await;
    for (message, outcome) in sent.iter().zip(&outcomes) {
        let count = before.get(&message.id()).copied().unwrap_or_default();
        match outcome {
            Outcome::Delivered => assert_eq!(count, 1),
            Outcome::Unknown => assert!(count <= 1),
            _ => assert_eq!(count, 0, "{outcome:?}"),
        }
    }
    let rest = sent.iter().zip(&outcomes).filter(|(_, outcome)| **outcome != Outcome::Delivered);
    let rest: Vec<_> = rest.map(|(message, _)| message.clone()).collect();
    deliver_at_last(&publisher, 1, &rest).await;
    let after = arrivals(&server, &topic).await;
    assert!(sent.iter().all(|message| after.contains_key(&message.id())));
}

#[tokio::test]
async fn a_broker_that_starts_again_still_knows_who_is_refused() {
    let (mut server, url, topic) = own().await;
    let (former, owner) = (connect(&url).await, connect(&url).await);
    deliver_at_last(&former, 1, &messages(&topic, 20)).await;
    deliver_at_last(&owner, 2, &messages(&topic, 20)).await;
    server.kill();
    server.proxy.cut();
    server.start_again().await;
    let late = messages(&topic, 20);
    let by = Instant::now() + PATIENCE;
    loop {
        let outcomes = publish_under(&former, 1, &late, Duration::from_secs(5)).await;
        let is_refused = |outcome: &Outcome| {
            matches!(outcome, Outcome::Fenced(reason)
            if reason.as_str().contains("the later epoch 2"))
        };
        assert!(!outcomes.contains(&Outcome::Delivered), "{outcomes:?}");
        if outcomes.iter().all(is_refused) {
            break;
        }
        assert!(Instant::now() < by, "{outcomes:?}");
    }
    let sent = messages(&topic, 20);
    deliver_at_last(&owner, 2, &sent).await;
    let arrivals = arrivals(&server, &topic).await;
    assert!(sent.iter().all(|message| arrivals[&message.id()] == 1));
    assert!(late.iter().all(|message| !arrivals.contains_key(&message.id())));
}
