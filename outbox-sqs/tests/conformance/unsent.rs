//! What the connection still holds when a publish ends is never sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use outbox_core::{Limits, Message, Outcome, Publisher};
use outbox_sqs::{SqsConfig, SqsPublisher};
use outbox_testkit::faults::Proxy;

use crate::queue::{Queue, config};
use crate::security::Terminator;
use crate::sqs::{address, at, connect, message, publish};

async fn queue() -> Queue {
    let size = (QueueAttributeName::MaximumMessageSize, "1048576");
    Queue::create_as(false, &[size]).await
}

fn wide(config: SqsConfig) -> SqsConfig {
    SqsConfig { max_bytes: 1024 * 1024, ..config }
}

/// One request, of which the peer's socket takes a part: 800 KB.
fn large(queue: &Queue) -> Vec<Arc<Message>> {
    let limits = Limits { payload: 80_000, ..Limits::default() };
    let one = |_| Message::bytes(queue.name.as_str(), "x".repeat(80_000)).build_within(&limits);
    (0..10).map(|n| Arc::new(one(n).unwrap())).collect()
}

/// Gives up in each way: at the deadline, and by being dropped.
async fn give_up(publisher: &SqsPublisher, batch: &[Arc<Message>], at_deadline: bool) {
    let mut outcomes = vec![Outcome::Unknown; batch.len()];
    let soon = Duration::from_secs(1);
    if at_deadline {
        publisher.publish(batch, Instant::now() + soon, &mut outcomes).await;
    } else {
        let late = Instant::now() + Duration::from_mins(1);
        let call = publisher.publish(batch, late, &mut outcomes);
        tokio::time::timeout(soon, call).await.unwrap_err();
    }
    assert_eq!(outcomes, vec![Outcome::Unknown; batch.len()]);
}

/// Seen to fail with the SDK's own connections: ten messages arrive when the peer goes on reading.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_given_up_is_cut_off() {
    let queue = queue().await;
    let proxy = Proxy::start(address(&config())).unwrap();
    let publisher = connect(wide(at(proxy.address()))).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    for at_deadline in [true, false] {
        let held = proxy.hold_all();
        give_up(&publisher, &large(&queue), at_deadline).await;
        drop(held);
        assert_eq!(queue.settled().await.len(), 1, "no more than before");
    }
    let outcomes = publish(&publisher, &[message(&queue.name)]).await;
    assert_eq!(outcomes, [Outcome::Delivered], "a new connection is made");
    queue.delete().await;
}

/// Seen to fail without a linger of zero: the ten arrive.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_that_is_given_up_is_cut_off_under_tls() {
    let queue = queue().await;
    let terminator = Terminator::start(address(&config())).await;
    let publisher = connect(wide(terminator.config())).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    for at_deadline in [true, false] {
        terminator.reads.send_replace(false);
        give_up(&publisher, &large(&queue), at_deadline).await;
        terminator.reads.send_replace(true);
        assert_eq!(queue.settled().await.len(), 1, "no more than before");
    }
    let outcomes = publish(&publisher, &[message(&queue.name)]).await;
    assert_eq!(outcomes, [Outcome::Delivered], "a new connection is made");
    queue.delete().await;
}
