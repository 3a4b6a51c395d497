//! For the tests of a service that has an outbox: what waits in it, and what a relay makes of it.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::{
    FetchRequest, Message, Ordering, Partition, PartitionRead, Publisher, Relay, Seq, Store,
};
use tokio_util::sync::CancellationToken;

use crate::memory::MemoryPublisher;

/// What waits in the outbox, in the order in which it was enqueued as far as the outbox keeps one:
/// within a partition.
///
/// # Panics
/// If the store fails.
pub async fn enqueued(store: &dyn Store) -> Vec<Message> {
    let read = |number| PartitionRead {
        partition: Partition(number),
        after: Seq::START,
        limit: u32::MAX,
        bytes: u64::MAX,
    };
    let reads = (0..store.partitions()).map(read).collect();
    let request = FetchRequest { reads, horizon: Seq::START, look_limit: 0 };
    let page = store.fetch(&request).await.expect("the outbox can be read");
    page.rows.iter().map(|row| Message::clone(&row.message)).collect()
}

/// Asserts that exactly one message waits in the outbox for which `holds`, and returns it.
///
/// # Panics
/// If there is none or more than one: it lists what waits, without payloads.
pub async fn assert_enqueued(store: &dyn Store, holds: impl Fn(&Message) -> bool) -> Message {
    let waiting = enqueued(store).await;
    let mut fitting = waiting.iter().filter(|message| holds(message));
    match (fitting.next(), fitting.count()) {
        (Some(message), 0) => message.clone(),
        (found, more) => {
            let count = usize::from(found.is_some()) + more;
            panic!("{count} messages are as expected, of those that wait:{}", listed(&waiting))
        }
    }
}

/// Asserts that nothing waits in the outbox.
///
/// # Panics
/// If something does: it lists it, without payloads.
pub async fn assert_nothing_enqueued(store: &dyn Store) {
    let waiting = enqueued(store).await;
    assert!(waiting.is_empty(), "these wait in the outbox:{}", listed(&waiting));
}

fn listed(messages: &[Message]) -> String {
    let mut text = String::new();
    for message in messages {
        write!(text, "\n  {message:?}").expect("a string");
    }
    if text.is_empty() { "\n  nothing".to_owned() } else { text }
}

/// Relays all that waits in the outbox into memory, and returns it in the order in which it arrived.
///
/// # Panics
/// If the store fails.
pub async fn drain(store: Arc<dyn Store>) -> Vec<Message> {
    let publisher = Arc::new(MemoryPublisher::new(Ordering::PrefixPerKey));
    drain_to(store, Arc::clone(&publisher) as Arc<dyn Publisher>).await;
    let broker = publisher.broker();
    broker.log().iter().map(|accepted| Message::clone(&accepted.message)).collect()
}

/// Relays to `publisher` until nothing waits in the outbox any more: all of it was published or
/// became a dead letter.
///
/// # Panics
/// If the store fails, or the relay can't begin.
pub async fn drain_to(store: Arc<dyn Store>, publisher: Arc<dyn Publisher>) {
    let relay = Relay::builder(Arc::clone(&store), publisher).build().expect("default settings");
    let stop = CancellationToken::new();
    let watch = async {
        while !enqueued(&*store).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.cancel();
    };
    tokio::join!(relay.run(stop.clone()), watch);
}

#[cfg(test)]
mod tests {
    use outbox_core::{Outcome, Visibility};

    use super::*;
    use crate::memory::MemoryStore;

    fn outbox(keys: &[&str]) -> Arc<MemoryStore> {
        let store = MemoryStore::new(4, Visibility::Ordered);
        for key in keys {
            let message = Message::bytes("orders", "secret").key(key).build().unwrap();
            store.database().enqueue(Duration::ZERO, [message]).unwrap();
        }
        Arc::new(store)
    }

    #[tokio::test]
    async fn what_waits_is_found() {
        let store = outbox(&["a", "b"]);
        assert_eq!(enqueued(&*store).await.len(), 2);
        let found = assert_enqueued(&*store, |message| message.key() == Some("b")).await;
        assert_eq!(found.key(), Some("b"));
        assert_nothing_enqueued(&*outbox(&[])).await;
    }

    #[tokio::test]
    #[should_panic(expected = "0 messages are as expected, of those that wait:\n  Message")]
    async fn what_does_not_wait_is_missed() {
        assert_enqueued(&*outbox(&["a"]), |message| message.key() == Some("b")).await;
    }

    #[tokio::test]
    #[should_panic(expected = "2 messages are as expected")]
    async fn what_waits_twice_is_noticed() {
        assert_enqueued(&*outbox(&["a", "a"]), |_| true).await;
    }

    #[tokio::test]
    #[should_panic(expected = "these wait in the outbox:\n  Message")]
    async fn what_should_not_wait_is_noticed() {
        assert_nothing_enqueued(&*outbox(&["a"])).await;
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
        let store = outbox(&["a", "b"]);
        let broken = assert_enqueued(&*store, |message| message.key() == Some("a")).await;
        let publisher = Arc::new(MemoryPublisher::new(Ordering::PrefixPerKey));
        publisher.poison(broken.id(), Outcome::Rejected("on purpose".into()));
        drain_to(Arc::clone(&store) as Arc<dyn Store>, publisher.clone()).await;
        assert_eq!(publisher.broker().log().len(), 1);
        assert_eq!(store.database().died(), [broken.id()]);
    }
}
