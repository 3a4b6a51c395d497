//! What the connection still holds when a publish ends is never sent.

use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName;
use outbox_core::{Limits, Message, Outcome, Publisher};
use outbox_sqs::{SqsConfig, SqsPublisher};
use outbox_testkit::faults::Proxy;
use tokio::runtime;
use tokio::task::block_in_place;

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

/// One request of so many times 80 KB. Of ten the peer's socket takes a part.
fn large(queue: &Queue, count: usize) -> Vec<Arc<Message>> {
    let limits = Limits { payload: 80_000, ..Limits::default() };
    let one = |_| Message::bytes(queue.name.as_str(), "x".repeat(80_000)).build_within(&limits);
    (0..count).map(|n| Arc::new(one(n).unwrap())).collect()
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
        give_up(&publisher, &large(&queue, 10), at_deadline).await;
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
        give_up(&publisher, &large(&queue, 10), at_deadline).await;
        terminator.reads.send_replace(true);
        assert_eq!(queue.settled().await.len(), 1, "no more than before");
    }
    let outcomes = publish(&publisher, &[message(&queue.name)]).await;
    assert_eq!(outcomes, [Outcome::Delivered], "a new connection is made");
    queue.delete().await;
}

/// A task of the client's would close the connection once it is run, which may be late: here the
/// runtime stands still from the end of the publish on. Seen to fail where it is left to that task:
/// the three arrive, as the system has taken all of their request.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "the runtime is our own, and has several threads")]
async fn a_request_that_is_given_up_is_cut_off_at_once() {
    let queue = queue().await;
    let proxy = Proxy::start(address(&config())).unwrap();
    let still = runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let publisher = block_in_place(|| still.block_on(connect(wide(at(proxy.address())))));
    let one = [message(&queue.name)];
    let outcomes = block_in_place(|| still.block_on(publish(&publisher, &one)));
    assert_eq!(outcomes, [Outcome::Delivered]);
    let held = proxy.hold_all();
    block_in_place(|| still.block_on(give_up(&publisher, &large(&queue, 3), false)));
    drop(held);
    assert_eq!(queue.settled().await.len(), 1, "no more than before");
    still.shutdown_background();
    queue.delete().await;
}
