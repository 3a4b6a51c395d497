//! What the client still holds when a publish ends is never sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::{Limits, Message, Outcome, Publisher as _};
use outbox_rabbitmq::RabbitMqPublisher;
use outbox_testkit::faults::Proxy;

use crate::connection::behind;
use crate::rabbit::{Rabbit, deliver_at_last, publish_within};

/// More than the buffers of all sockets on the way hold.
const MUCH: usize = 64 * 1024 * 1024;

/// Less than they hold: the client has written all of it.
const LITTLE: usize = 1024 * 1024;

async fn open(size: usize) -> (Rabbit, Proxy, RabbitMqPublisher, Message) {
    let rabbit = Rabbit::with(&[]).await;
    let (proxy, publisher) = behind(&rabbit, "max_message_bytes=67108864").await;
    deliver_at_last(&publisher, &rabbit.message()).await;
    let limits = Limits { payload: size, ..Limits::default() };
    let large = Message::bytes(rabbit.queue.as_str(), vec![7; size]).build_within(&limits).unwrap();
    (rabbit, proxy, publisher, large)
}

/// What is sent later would come before what is published later.
async fn assert_it_never_comes(rabbit: &Rabbit, publisher: &RabbitMqPublisher, large: &Message) {
    tokio::time::sleep(Duration::from_secs(3)).await;
    deliver_at_last(publisher, &rabbit.message()).await;
    let arrived = rabbit.arrived_ids().await;
    assert_eq!(arrived.len(), 2);
    assert!(!arrived.contains(&large.id()), "it was sent after its publish had ended");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_takes_back_what_was_not_written() {
    take_back(MUCH).await;
}

/// Seen to arrive while the connection was kept once all was in the kernel's buffer.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deadline_takes_back_what_only_the_kernel_has() {
    take_back(LITTLE).await;
}

async fn take_back(size: usize) {
    let (rabbit, proxy, publisher, large) = open(size).await;
    let held = proxy.hold_all();
    let patience = Duration::from_secs(1);
    let outcomes = publish_within(&publisher, std::slice::from_ref(&large), patience).await;
    assert_eq!(outcomes, [Outcome::Unknown]);
    drop(held);
    assert_it_never_comes(&rabbit, &publisher, &large).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_takes_back_what_was_not_written() {
    let (rabbit, proxy, publisher, large) = open(MUCH).await;
    let held = proxy.hold_all();
    let (batch, mut outcomes) = ([Arc::new(large.clone())], [Outcome::Unknown]);
    let deadline = Instant::now() + Duration::from_mins(1);
    let publish = publisher.publish(&batch, deadline, &mut outcomes);
    tokio::time::timeout(Duration::from_secs(1), publish).await.unwrap_err();
    drop(held);
    assert_it_never_comes(&rabbit, &publisher, &large).await;
}

/// Nor is what a connection that was lost had not carried away.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_lost_connection_held_is_unavailable() {
    let (rabbit, proxy, publisher, large) = open(MUCH).await;
    let held = proxy.hold_all();
    let cut = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.cut();
    };
    let patience = Duration::from_mins(1);
    let publish = publish_within(&publisher, std::slice::from_ref(&large), patience);
    let (outcomes, ()) = tokio::join!(publish, cut);
    assert!(matches!(outcomes[0], Outcome::Unavailable(_)), "{outcomes:?}");
    drop(held);
    assert_it_never_comes(&rabbit, &publisher, &large).await;
}
