//! For the tests of a service that has an outbox: what waits in it, and what a relay makes of it.
//!
//! With the feature `sqlx-sqlite` there is an outbox to be had in one call, [`TestOutbox`]:
//!
//! ```
//! # #[cfg(feature = "sqlx-sqlite")]
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use outbox_core::{Message, Ordering, Outcome};
//! use outbox_testkit::memory::MemoryPublisher;
//! use outbox_testkit::service::{TestOutbox, assert_enqueued, assert_nothing_enqueued, drain_to};
//!
//! let shop = TestOutbox::sqlite().await;
//!
//! // The service under test, which gets `shop.pool()` and `shop.outbox()`.
//! let mut tx = shop.outbox().begin(shop.pool()).await?;
//! tx.emit(Message::json("orders", &42).key("customer-7").message_type("order.paid"))?;
//! tx.commit().await?;
//!
//! // What waits …
//! let store = shop.store();
//! let paid = assert_enqueued(&*store, |message| message.key() == Some("customer-7")).await;
//!
//! // … and a broker that fails on purpose.
//! let broker = Arc::new(MemoryPublisher::new(Ordering::PrefixPerKey));
//! broker.refuse(paid.id(), Outcome::Failed("not this time".into())); // `poison`: never
//! drain_to(store.clone(), broker.clone()).await;
//! assert_eq!(broker.broker().count(paid.id()), 1);
//! assert_nothing_enqueued(&*store).await;
//! # Ok(())
//! # }
//! # #[cfg(not(feature = "sqlx-sqlite"))]
//! # fn main() {}
//! ```
//!
//! All else takes any store, as `outbox.store()` of every ORM gives one.

mod drain;
#[cfg(feature = "sqlx-sqlite")]
mod sqlite;

use std::fmt::Write as _;

use outbox_core::{FetchRequest, Message, Partition, PartitionRead, Seq, Store};

pub use drain::{PATIENCE, drain, drain_to, drain_within};
#[cfg(feature = "sqlx-sqlite")]
pub use sqlite::TestOutbox;

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
        parked: false,
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

#[cfg(test)]
fn outbox(keys: &[&str]) -> std::sync::Arc<crate::memory::MemoryStore> {
    let store = crate::memory::MemoryStore::new(4, outbox_core::Visibility::Ordered);
    for key in keys {
        let message = Message::bytes("orders", "secret").key(key).build().unwrap();
        store.database().enqueue(std::time::Duration::ZERO, [message]).unwrap();
    }
    std::sync::Arc::new(store)
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
