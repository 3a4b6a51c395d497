//! A broker that has no memory left takes no messages, and doesn't confirm what it got.

use std::time::Duration;

use outbox_core::{Limits, Message, Outcome, Publisher as _};
use outbox_testkit::servers::{rabbitmq, rabbitmqctl};

use crate::rabbit::{Rabbit, connect, deliver_at_last, publish, publish_within};

/// FAILURES row 55. Seen to be sent, and unknown at each deadline, while nobody looked whether the
/// broker blocks.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_blocks_nothing_is_sent() {
    let server = rabbitmq("", "").await;
    let rabbit = Rabbit::at(server.url(), &[]).await;
    let publisher = connect(&server.url()).await;
    assert_eq!(publish(&publisher, &rabbit.messages(3)).await, vec![Outcome::Delivered; 3]);
    rabbitmqctl(&server, &["set_vm_memory_high_watermark", "absolute", "1MB"]).await;
    // The first that comes makes the broker say so.
    let first = rabbit.message();
    let soon = Duration::from_secs(2);
    let outcomes = publish_within(&publisher, std::slice::from_ref(&first), soon).await;
    assert_eq!(outcomes, [Outcome::Unknown]);
    let blocked = rabbit.messages(5);
    for outcome in publish(&publisher, &blocked).await {
        let Outcome::Unavailable(reason) = outcome else { panic!("{outcome:?}") };
        let expected = "RabbitMQ takes no messages now: its memory or disk alarm is on";
        assert_eq!(reason.as_str(), expected);
    }
    assert!(publisher.check().await.is_err());
    rabbitmqctl(&server, &["set_vm_memory_high_watermark", "0.8"]).await;
    let last = rabbit.message();
    deliver_at_last(&publisher, &last).await;
    assert_eq!(publisher.check().await, Ok(()));
    let arrived = rabbit.arrived_ids().await;
    assert!(blocked.iter().all(|message| !arrived.contains(&message.id())), "{arrived:?}");
    assert!(arrived.contains(&last.id()));
}

/// FAILURES row 55: the broker blocks as soon as a message begins, and reads no more of it. Seen to
/// be unknown, at the deadline.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_not_written_when_the_broker_blocks_is_unavailable() {
    let server = rabbitmq("", "").await;
    let rabbit = Rabbit::at(server.url(), &[]).await;
    let publisher = connect(&format!("{}?max_message_bytes=67108864", server.url())).await;
    assert_eq!(publish(&publisher, &[rabbit.message()]).await, [Outcome::Delivered]);
    rabbitmqctl(&server, &["set_vm_memory_high_watermark", "absolute", "1MB"]).await;
    let size = 64 * 1024 * 1024;
    let limits = Limits { payload: size, ..Limits::default() };
    let large = Message::bytes(rabbit.queue.as_str(), vec![7; size]).build_within(&limits).unwrap();
    let outcomes = publish(&publisher, std::slice::from_ref(&large)).await;
    assert!(matches!(outcomes[0], Outcome::Unavailable(_)), "{outcomes:?}");
    // So it stays for the connection that takes its place. Seen to be unknown, at the deadline,
    // while a new connection didn't ask.
    let outcomes = publish(&publisher, &[rabbit.message()]).await;
    let expected = "RabbitMQ takes no messages now: its memory or disk alarm is on";
    assert_eq!(outcomes, [Outcome::Unavailable(expected.into())]);
    rabbitmqctl(&server, &["set_vm_memory_high_watermark", "0.8"]).await;
    deliver_at_last(&publisher, &rabbit.message()).await;
    assert_eq!(rabbit.arrived_ids().await.len(), 2);
}
