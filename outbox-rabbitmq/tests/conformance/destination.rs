//! Exchanges and queues that are there, or aren't.

use lapin::ExchangeKind;
use lapin::options::{
    ExchangeDeclareOptions, ExchangeDeleteOptions, QueueBindOptions, QueueDeleteOptions,
};
use lapin::types::FieldTable;
use outbox_core::{Message, Outcome, Publisher as _};
use outbox_testkit::suite::publisher::PublisherHarness as _;

use crate::rabbit::{Rabbit, bytes, closed_under, ids, publish, unique};

/// A topic exchange on which the queue gets the messages of the topic `orders`.
async fn exchange() -> (Rabbit, String) {
    let rabbit = Rabbit::open().await;
    let exchange = unique("exchange");
    let (options, kind) = (ExchangeDeclareOptions::default(), ExchangeKind::Topic);
    let name = exchange.as_str();
    let none = FieldTable::default();
    rabbit.channel.exchange_declare(name.into(), kind, options, none.clone()).await.unwrap();
    let (queue, bind) = (rabbit.queue.as_str(), QueueBindOptions::default());
    let bound = rabbit.channel.queue_bind(queue.into(), name.into(), "orders".into(), bind, none);
    bound.await.unwrap();
    (rabbit, exchange)
}

async fn delete(rabbit: &Rabbit, exchange: &str) {
    let options = ExchangeDeleteOptions::default();
    rabbit.channel.exchange_delete(exchange.into(), options).await.unwrap();
}

fn reason(outcome: &Outcome) -> &str {
    let (Outcome::Rejected(reason) | Outcome::Failed(reason)) = outcome else {
        panic!("{outcome:?}")
    };
    reason.as_str()
}

#[tokio::test]
async fn an_exchange_routes_by_the_destination() {
    let (rabbit, exchange) = exchange().await;
    let publisher = rabbit.connect(&format!("exchange={exchange}")).await;
    let sent = bytes("orders", 7);
    assert_eq!(publish(&publisher, std::slice::from_ref(&sent)).await, [Outcome::Delivered]);
    assert_eq!(rabbit.arrived_ids().await, [sent.id()]);
    delete(&rabbit, &exchange).await;
}

/// FAILURES row 54: the broker confirms what it has dropped. It doesn't say whether no queue is
/// bound, or the node of one that is is down. Seen to be delivered without `mandatory`.
#[tokio::test]
async fn what_no_bound_queue_takes_has_failed() {
    let (rabbit, exchange) = exchange().await;
    let publisher = rabbit.connect(&format!("exchange={exchange}")).await;
    let sent = bytes("orders", 7);
    assert_eq!(publish(&publisher, std::slice::from_ref(&sent)).await, [Outcome::Delivered]);
    let (queue, none) = (rabbit.queue.as_str(), FieldTable::default());
    let unbound =
        rabbit.channel.queue_unbind(queue.into(), exchange.as_str().into(), "orders".into(), none);
    unbound.await.unwrap();
    let outcomes = publish(&publisher, &[bytes("orders", 7)]).await;
    let expected =
        format!("no queue that can be reached is bound to exchange `{exchange}` for `orders`");
    assert_eq!(outcomes, [Outcome::Failed(expected.into())]);
    assert_eq!(rabbit.arrived_ids().await, [sent.id()]);
    delete(&rabbit, &exchange).await;
}

fn no_queue(name: &str) -> String {
    format!("there is no queue `{name}`: declare it, or set the option `declare_queues`")
}

/// FAILURES row 54, with the default exchange. Seen to be delivered without `mandatory`.
#[tokio::test]
async fn what_no_queue_takes_is_rejected() {
    let rabbit = Rabbit::open().await;
    let publisher = rabbit.connect("").await;
    let nowhere = unique("nowhere");
    let sent = [rabbit.message(), bytes(&nowhere, 7), rabbit.message()];
    let outcomes = publish(&publisher, &sent).await;
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
    let expected = no_queue(&nowhere);
    assert_eq!(outcomes[1], Outcome::Rejected(expected.into()));
}

/// The broker confirms several at once, and the client attaches what came back to any of them.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_return_is_matched_to_its_message() {
    let rabbit = Rabbit::open().await;
    let publisher = rabbit.connect("").await;
    let nowhere = unique("nowhere");
    for round in 0..20 {
        let lost = |n: usize| (n * 7 + round).is_multiple_of(5);
        let sent: Vec<Message> =
            (0..200).map(|n| if lost(n) { bytes(&nowhere, 7) } else { rabbit.message() }).collect();
        let outcomes = publish(&publisher, &sent).await;
        for (n, outcome) in outcomes.iter().enumerate() {
            if lost(n) {
                let expected = no_queue(&nowhere);
                assert_eq!(reason(outcome), expected, "{n} in round {round}");
            } else {
                assert_eq!(*outcome, Outcome::Delivered, "{n} in round {round}");
            }
        }
    }
    assert_eq!(rabbit.arrived().await.len(), 20 * 160);
}

#[tokio::test]
async fn a_missing_exchange_rejects_its_messages_alone() {
    let (rabbit, exchange) = exchange().await;
    let publisher = rabbit.connect("exchange={topic}&destination=orders").await;
    let (good, bad) = (|| bytes(&exchange, 7), bytes("outbox-no-such-exchange", 7));
    let batch = [good(), bad.clone(), good(), bad.clone(), good()];
    for _ in 0..2 {
        let outcomes = publish(&publisher, &batch).await;
        for (n, outcome) in outcomes.iter().enumerate() {
            if n % 2 == 0 {
                assert_eq!(*outcome, Outcome::Delivered);
            } else {
                assert_eq!(reason(outcome), "there is no exchange `outbox-no-such-exchange`");
            }
        }
    }
    assert_eq!(rabbit.arrived().await.len(), 6);
    delete(&rabbit, &exchange).await;
}

/// Publishing to it closes the channel, and what is on it has no answer.
#[tokio::test]
async fn an_exchange_that_goes_is_noticed() {
    let (rabbit, exchange) = exchange().await;
    let publisher = rabbit.connect("exchange={topic}&destination=orders").await;
    let both = || [bytes(&exchange, 7), bytes("amq.topic", 7), bytes(&exchange, 7)];
    let queue = rabbit.queue.as_str();
    let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
    let bound =
        rabbit.channel.queue_bind(queue.into(), "amq.topic".into(), "orders".into(), bind, none);
    bound.await.unwrap();
    assert_eq!(publish(&publisher, &both()).await, vec![Outcome::Delivered; 3]);
    delete(&rabbit, &exchange).await;
    let outcomes = publish(&publisher, &both()).await;
    assert!(closed_under(&outcomes[0], &outcomes[2]), "{outcomes:?}");
    // A client that goes on writing to the closed channel loses the connection for all.
    assert!(matches!(outcomes[1], Outcome::Delivered | Outcome::Unknown), "{outcomes:?}");
    let outcomes = publish(&publisher, &both()).await;
    assert!(reason(&outcomes[0]).contains("there is no exchange"));
    assert_eq!(outcomes[1], Outcome::Delivered, "the others go on");
    assert_eq!(publisher.check().await, Ok(()));
}

#[tokio::test]
async fn queues_are_created_when_asked_for() {
    let rabbit = Rabbit::open().await;
    for kind in ["quorum", "classic"] {
        let publisher = rabbit.connect(&format!("declare_queues={kind}")).await;
        let queue = unique(kind);
        let sent = [bytes(&queue, 7), bytes(&queue, 7), rabbit.message()];
        let delivered = vec![Outcome::Delivered; 3];
        assert_eq!(publish(&publisher, &sent).await, delivered, "those that exist stay");
        let delete =
            || rabbit.channel.queue_delete(queue.as_str().into(), QueueDeleteOptions::default());
        assert_eq!(delete().await.unwrap(), 2);
        let outcomes = publish(&publisher, &sent).await;
        let expected = format!("there is no queue `{queue}` any more; it is created again");
        assert!(matches!(&outcomes[0], Outcome::Failed(reason) if reason.as_str() == expected));
        assert_eq!(outcomes[2], Outcome::Delivered);
        assert_eq!(publish(&publisher, &sent).await, delivered);
        delete().await.unwrap();
    }
    assert_eq!(ids(&rabbit.arrived().await).len(), 6);
}
