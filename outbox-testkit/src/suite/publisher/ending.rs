//! Publishes and publishers that end.

use std::time::{Duration, Instant};

use outbox_core::Outcome;

use super::Fixture;
use super::fixture::{DEADLINE, FIRST, batch, ids, tokens};

pub async fn after_the_close_all_is_unavailable(broker: &Fixture) {
    broker.deliver(&broker.messages("k", 1)).await;
    assert_eq!(broker.publisher.close().await, Ok(()));
    let outcomes = broker.publish(&broker.messages("late", 2)).await;
    let unavailable = |outcome: &Outcome| matches!(outcome, Outcome::Unavailable(_));
    assert!(outcomes.iter().all(unavailable), "{outcomes:?}");
    assert!(broker.arrived("late").await.is_empty());
}

pub async fn what_was_delivered_outlives_the_close(broker: &Fixture) {
    let sent = broker.messages("k", 3);
    for message in &sent {
        broker.deliver(std::slice::from_ref(message)).await;
    }
    assert_eq!(broker.publisher.close().await, Ok(()));
    assert_eq!(broker.arrived("k").await, ids(&sent));
}

pub async fn what_was_never_polled_is_never_sent(broker: &Fixture) {
    let sent = batch(&broker.messages("never", 3));
    let mut outcomes = vec![Outcome::Unknown; sent.len()];
    let (tokens, deadline) = (tokens(&sent, FIRST), Instant::now() + DEADLINE);
    drop(broker.publisher.publish_fenced(&sent, &tokens, deadline, &mut outcomes));
    tokio::time::sleep(Duration::from_millis(200)).await;
    broker.deliver(&broker.messages("k", 1)).await;
    assert!(broker.arrived("never").await.is_empty());
}

/// A client's own queue must not publish after the lease has gone.
pub async fn a_dropped_publish_sends_nothing_more(broker: &Fixture) {
    let count = broker.publisher.limits().messages.clamp(1, 200);
    for micros in [0, 50, 500, 5_000] {
        let sent: Vec<_> = (0..count)
            .map(|n| {
                let message = broker.bytes(vec![7; 4096]).key(format!("dropped-{micros}-{n}"));
                message.build().unwrap()
            })
            .collect();
        let sent = batch(&sent);
        let mut outcomes = vec![Outcome::Unknown; sent.len()];
        let (tokens, deadline) = (tokens(&sent, FIRST), Instant::now() + DEADLINE);
        let publish = broker.publisher.publish_fenced(&sent, &tokens, deadline, &mut outcomes);
        // Whether it is over by then doesn't matter: from here on nothing new is sent.
        let _ = tokio::time::timeout(Duration::from_micros(micros), publish).await;
        // What is on the wire may still be under way.
        tokio::time::sleep(Duration::from_millis(250)).await;
        let settled = ids(&broker.harness.arrived().await);
        tokio::time::sleep(Duration::from_millis(250)).await;
        assert_eq!(ids(&broker.harness.arrived().await).len(), settled.len());
        for (message, outcome) in sent.iter().zip(&outcomes) {
            let here = settled.contains(&message.id());
            assert!(here || *outcome != Outcome::Delivered, "delivered, but not there");
        }
    }
    broker.deliver(&broker.messages("k", 1)).await;
}

pub async fn a_deadline_that_has_passed_is_no_delivery(broker: &Fixture) {
    let sent = broker.messages("late", 2);
    let mut outcomes = vec![Outcome::Unknown; sent.len()];
    let (batch, now) = (batch(&sent), Instant::now());
    let publish = async {
        let tokens = tokens(&batch, FIRST);
        broker.publisher.publish_fenced(&batch, &tokens, now, &mut outcomes).await;
    };
    tokio::time::timeout(DEADLINE, publish).await.expect("it returns at its deadline");
    let arrived = broker.arrived("late").await;
    for (message, outcome) in sent.iter().zip(&outcomes) {
        let here = arrived.contains(&message.id());
        assert!(here || *outcome != Outcome::Delivered, "delivered, but not there");
    }
    broker.deliver(&broker.messages("k", 1)).await;
}
