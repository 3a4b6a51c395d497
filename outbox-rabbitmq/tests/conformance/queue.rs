//! Queues that don't take everything.

use lapin::types::AMQPValue;
use outbox_core::Outcome;
use outbox_testkit::suite::publisher::PublisherHarness as _;

use crate::rabbit::{Rabbit, publish, text};

/// FAILURES row 56: a queue that is full refuses, instead of dropping its oldest. Seen to be
/// delivered while a refusal (nack) counted like a confirmation.
#[tokio::test]
async fn what_a_full_queue_refuses_has_failed() {
    let full = [("x-max-length", AMQPValue::LongInt(1)), ("x-overflow", text("reject-publish"))];
    let rabbit = Rabbit::with(&full).await;
    let publisher = rabbit.connect("").await;
    let sent = rabbit.messages(10);
    let mut outcomes = vec![Outcome::Unknown; 10];
    for (message, outcome) in sent.iter().zip(&mut outcomes) {
        *outcome = publish(&publisher, std::slice::from_ref(message)).await.remove(0);
    }
    assert_eq!(outcomes[0], Outcome::Delivered);
    let Outcome::Failed(reason) = &outcomes[9] else { panic!("{:?}", outcomes[9]) };
    assert_eq!(reason.as_str(), "RabbitMQ did not take it (nack): a queue is full or has failed");
    let delivered = outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count();
    assert_eq!(rabbit.arrived().await.len(), delivered);
    assert_eq!(publish(&publisher, &sent[9..]).await, [Outcome::Delivered], "there is room again");
}

#[tokio::test]
async fn a_refusal_in_a_batch_is_of_its_message() {
    let full = [("x-max-length", AMQPValue::LongInt(3)), ("x-overflow", text("reject-publish"))];
    let rabbit = Rabbit::with(&full).await;
    let other = Rabbit::open().await;
    let publisher = rabbit.connect("").await;
    let sent: Vec<_> =
        (0..40).map(|n| if n % 2 == 0 { rabbit.message() } else { other.message() }).collect();
    let outcomes = publish(&publisher, &sent).await;
    let arrived = rabbit.arrived_ids().await;
    assert!(arrived.len() < 20);
    for (n, (message, outcome)) in sent.iter().zip(&outcomes).enumerate() {
        if n % 2 == 1 || arrived.contains(&message.id()) {
            assert_eq!(*outcome, Outcome::Delivered);
        } else {
            assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");
        }
    }
    assert_eq!(other.arrived().await.len(), 20);
}
