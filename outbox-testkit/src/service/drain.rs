//! A relay that runs until the outbox is empty.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use outbox_core::relay::{Backoff, Event, RelayConfig, RetryPolicy};
use outbox_core::{Message, Observer, Ordering, Publisher, Relay, Store};
use tokio_util::sync::CancellationToken;

use super::{enqueued, listed};
use crate::memory::MemoryPublisher;

/// How long [`drain`] and [`drain_to`] go on: longer than the leases of a relay that was cut off.
pub const PATIENCE: Duration = Duration::from_mins(1);

/// Relays all that waits in the outbox into memory, and returns it in the order in which it
/// arrived.
///
/// # Panics
/// If the store fails, or the outbox isn't empty after [`PATIENCE`].
pub async fn drain(store: Arc<dyn Store>) -> Vec<Message> {
    let publisher = Arc::new(MemoryPublisher::new(Ordering::PrefixPerKey));
    drain_to(store, Arc::clone(&publisher) as Arc<dyn Publisher>).await;
    let broker = publisher.broker();
    broker.log().iter().map(|accepted| Message::clone(&accepted.message)).collect()
}

/// Relays to `publisher` until nothing waits in the outbox any more: all of it was published or
/// became a dead letter. A message that fails is tried as often as a relay does by default, but
/// without its long waits.
///
/// # Panics
/// If the store fails, or the outbox isn't empty after [`PATIENCE`].
pub async fn drain_to(store: Arc<dyn Store>, publisher: Arc<dyn Publisher>) {
    drain_within(store, publisher, PATIENCE).await;
}

/// Like [`drain_to`], with a patience of the caller's.
///
/// # Panics
/// If the store fails, or the outbox isn't empty after `patience`: it lists what waits, without
/// payloads, and says what went wrong last.
pub async fn drain_within(
    store: Arc<dyn Store>,
    publisher: Arc<dyn Publisher>,
    patience: Duration,
) {
    let trouble = Arc::new(Trouble::default());
    let relay = Relay::builder(Arc::clone(&store), publisher);
    let relay = relay.config(config()).observer(Arc::clone(&trouble) as Arc<dyn Observer>);
    let relay = relay.build().expect("settings that work");
    let stop = CancellationToken::new();
    let empty = async {
        while !enqueued(&*store).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let watch = async {
        if tokio::time::timeout(patience, empty).await.is_err() {
            let waiting = listed(&enqueued(&*store).await);
            panic!("after {patience:?} these wait in the outbox still:{waiting}\n{trouble}");
        }
        stop.cancel();
    };
    tokio::join!(relay.run(stop.clone()), watch);
}

/// Nobody waits for a test's broker to recover.
fn config() -> RelayConfig {
    let soon = Backoff { first: Duration::from_millis(1), cap: Duration::from_millis(20) };
    let default = RelayConfig::default();
    RelayConfig {
        retry: RetryPolicy { backoff: soon, ..default.retry },
        poll: soon,
        breaker: soon,
        store_retry: soon,
        ..default
    }
}

/// What went wrong last, for one who wonders why a drain gets nowhere.
#[derive(Debug, Default)]
struct Trouble(Mutex<Option<String>>);

impl Observer for Trouble {
    fn observe(&self, event: &Event) {
        let told = match event {
            Event::Retried { error, .. } => format!("a message fails: {error}"),
            Event::BreakerOpened(_, reason) => format!("the broker is unavailable: {reason}"),
            Event::Fenced(_, reason) => format!("the broker refuses this relay: {reason}"),
            Event::Throttled(_, wait) => format!("the broker asks to wait for {wait:?}"),
            Event::StoreFailed(_, failure) => format!("the store fails: {}", failure.reason),
            Event::Panicked(part, reason) => format!("a panic in {part}: {reason}"),
            _ => return,
        };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(told);
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(told) => f.write_str(told),
            None => f.write_str("nothing failed: does another relay hold their partitions?"),
        }
    }
}

#[cfg(test)]
mod tests {
    use outbox_core::{LeaseRequest, Outcome, Partition, RelayId};

    use super::*;
    use crate::memory::MemoryStore;
    use crate::service::{assert_enqueued, assert_nothing_enqueued, outbox};

    /// Drains a store in which only "a" waits to a broker that answers with `outcome` always.
    async fn drain_in_vain(store: Arc<MemoryStore>, outcome: Outcome) {
        let message = assert_enqueued(&*store, |message| message.key() == Some("a")).await;
        let publisher = Arc::new(MemoryPublisher::new(Ordering::PrefixPerKey));
        publisher.poison(message.id(), outcome);
        drain_to(store, publisher).await;
    }

    #[tokio::test]
    async fn a_drain_publishes_in_order_and_leaves_nothing() {
        let store = outbox(&["a", "b", "a"]);
        let waiting = enqueued(&*store).await;
        let published = drain(Arc::clone(&store) as Arc<dyn Store>).await;
        let of_a = |messages: &[Message]| -> Vec<_> {
            let of_a = messages.iter().filter(|message| message.key() == Some("a"));
            of_a.map(Message::id).collect()
        };
        assert_eq!((published.len(), of_a(&published)), (3, of_a(&waiting)));
        assert_nothing_enqueued(&*store).await;
    }

    #[tokio::test]
    async fn what_fails_on_purpose_becomes_a_dead_letter() {
        for outcome in [Outcome::Rejected("on purpose".into()), Outcome::Failed("again".into())] {
            let store = outbox(&["a", "b"]);
            let broken = assert_enqueued(&*store, |message| message.key() == Some("a")).await;
            drain_in_vain(Arc::clone(&store), outcome).await;
            assert_eq!(store.database().died(), [broken.id()]);
        }
    }

    /// What a task said when it panicked.
    async fn panic_of(task: impl Future<Output = ()> + Send + 'static) -> String {
        let panic = tokio::spawn(task).await.expect_err("it panics").into_panic();
        *panic.downcast::<String>().expect("with a text")
    }

    /// Seen to fail without the deadline: it hung.
    #[tokio::test(start_paused = true)]
    async fn a_drain_that_gets_nowhere_ends_and_says_why() {
        let unavailable = Outcome::Unavailable("no route to it".into());
        let said = panic_of(drain_in_vain(outbox(&["a", "b"]), unavailable)).await;
        let (first, rest) = said.split_once('\n').unwrap();
        assert_eq!(first, "after 60s these wait in the outbox still:");
        assert!(rest.starts_with("  Message {") && !rest.contains("secret"), "{said}");
        assert!(rest.ends_with("\nthe broker is unavailable: no route to it"), "{said}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_that_gets_no_partition_says_so() {
        let store = outbox(&["a"]);
        let hour = Duration::from_hours(1);
        let other = LeaseRequest {
            relay: RelayId(uuid::Uuid::now_v7()),
            ttl: hour,
            take: (0..4).map(Partition).collect(),
            release: Vec::new(),
            sick: false,
            leaving: false,
        };
        store.lease(&other).await.unwrap();
        let said = panic_of(async move { drop(drain(store).await) }).await;
        assert!(said.ends_with("does another relay hold their partitions?"), "{said}");
    }
}
