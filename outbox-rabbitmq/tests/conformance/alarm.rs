//! Row 55: a broker that has no memory left takes no messages, and doesn't confirm what it got.

use std::time::Duration;

use outbox_core::{Outcome, Publisher as _};

use crate::rabbit::{Rabbit, connect, deliver_at_last, publish, publish_within};
use crate::server::Server;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_broker_blocks_nothing_is_sent() {
    let Some(server) = Server::start().await else { return };
    let rabbit = Rabbit::at(server.url(), &[]).await.unwrap();
    let publisher = connect(&server.url()).await;
    assert_eq!(publish(&publisher, &rabbit.messages(3)).await, vec![Outcome::Delivered; 3]);
    server.control(&["set_vm_memory_high_watermark", "absolute", "1MB"]).await;
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
    server.control(&["set_vm_memory_high_watermark", "0.8"]).await;
    let last = rabbit.message();
    deliver_at_last(&publisher, &last).await;
    assert_eq!(publisher.check().await, Ok(()));
    let arrived = rabbit.arrived_ids().await;
    assert!(blocked.iter().all(|message| !arrived.contains(&message.id())), "{arrived:?}");
    assert_eq!(arrived.last(), Some(&last.id()));
}
