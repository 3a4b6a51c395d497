//! In which order a batch arrives, and what becomes of each message of many.

use outbox_core::{Message, Outcome};
use outbox_testkit::servers::redis;

use crate::consumer::Stream;
use crate::streams::{connect, message, publish};

/// Many more than tokio lets a task do before it has it wait for its turn.
async fn a_large_batch_arrives_as_it_is() {
    const COUNT: usize = 20_000;
    let server = redis(&["--appendfsync", "no"]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch: Vec<_> = (0..COUNT).map(|_| message(&stream.name)).collect();
    assert!(publish(&publisher, &batch).await == vec![Outcome::Delivered; COUNT]);
    let arrived: Vec<_> = stream.arrived().await.iter().map(Message::id).collect();
    let elsewhere = batch.iter().zip(&arrived).filter(|(sent, id)| sent.id() != **id).count();
    assert_eq!((arrived.len(), elsewhere), (COUNT, 0), "so many, and so many elsewhere");
}

#[tokio::test]
async fn a_large_batch_keeps_its_order_on_one_thread() {
    a_large_batch_arrives_as_it_is().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_batch_keeps_its_order_on_two_threads() {
    a_large_batch_arrives_as_it_is().await;
}

#[tokio::test]
async fn each_of_many_has_its_own_outcome() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    stream.command::<()>(&["SET", "taken", "1"]).await;
    let publisher = connect(stream.config()).await;
    let topic = |n: usize| if n % 7 == 3 { "taken" } else { &stream.name };
    let batch: Vec<_> = (0..200).map(|n| message(topic(n))).collect();
    let outcomes = publish(&publisher, &batch).await;
    for (outcome, message) in outcomes.iter().zip(&batch) {
        let good = message.topic() == stream.name;
        assert_eq!(*outcome == Outcome::Delivered, good, "{outcome:?}");
        assert_eq!(matches!(outcome, Outcome::Rejected(_)), !good, "{outcome:?}");
    }
    let expected = batch.iter().filter(|message| message.topic() == stream.name);
    let arrived: Vec<_> = stream.arrived().await.iter().map(Message::id).collect();
    assert_eq!(arrived, expected.map(Message::id).collect::<Vec<_>>());
}
