//! What a service's tests are helped with, on a real database.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Admin as _, DeadFilter, Message, Ordering, Outcome, Publisher};
use outbox_sqlx::{Names, OutboxConfig};
use outbox_testkit::memory::MemoryPublisher;
use outbox_testkit::service::{
    TestOutbox, assert_enqueued, assert_nothing_enqueued, drain, drain_to, drain_within, enqueued,
};

fn paid(customer: &str) -> Message {
    let message = Message::json("orders", &42).key(customer).message_type("order.paid");
    message.header("tenant", "acme").build().unwrap()
}

fn publisher() -> Arc<MemoryPublisher> {
    Arc::new(MemoryPublisher::new(Ordering::PrefixPerKey))
}

/// Commits `messages` in one transaction.
async fn commit(shop: &TestOutbox, messages: &[Message]) {
    let mut tx = shop.outbox().begin(shop.pool()).await.unwrap();
    for message in messages {
        tx.emit(message).unwrap();
    }
    tx.commit().await.unwrap();
}

/// What it holds of one key, in order.
fn ids(messages: &[Message], key: &str) -> Vec<uuid::Uuid> {
    let of_key = messages.iter().filter(|message| message.key() == Some(key));
    of_key.map(Message::id).collect()
}

#[tokio::test]
async fn what_is_committed_waits_and_is_drained() {
    let shop = TestOutbox::sqlite().await;
    let store = shop.store();
    assert_nothing_enqueued(&*store).await;

    let mut forgotten = shop.outbox().begin(shop.pool()).await.unwrap();
    forgotten.emit(paid("customer-9")).unwrap();
    forgotten.rollback().await.unwrap();
    let messages = ["customer-7", "customer-8", "customer-7"].map(paid);
    commit(&shop, &messages).await;

    let waiting = enqueued(&*store).await;
    assert_eq!(ids(&waiting, "customer-7"), ids(&messages, "customer-7"));
    let other = assert_enqueued(&*store, |message| message.key() == Some("customer-8")).await;
    assert_eq!((other.message_type(), other.header("tenant")), (Some("order.paid"), Some("acme")));
    assert_eq!(other.payload(), "42");

    let published = drain(store.clone()).await;
    assert_eq!(published.len(), 3);
    assert!(published.iter().all(|message| waiting.contains(message)), "as they were stored");
    assert_eq!(ids(&published, "customer-7"), ids(&messages, "customer-7"));
    assert_nothing_enqueued(&*store).await;
    assert_eq!(store.stats().await.unwrap().dead, 0);
    assert!(drain(store).await.is_empty());
}

/// More than a relay holds at once, and than a page of it has.
#[tokio::test]
async fn many_messages_are_no_too_many() {
    let shop = TestOutbox::sqlite().await;
    let messages: Vec<_> = (0..6000).map(|n| paid(&format!("customer-{}", n % 3))).collect();
    commit(&shop, &messages).await;
    assert_eq!(enqueued(&*shop.store()).await.len(), 6000);
    let published = drain(shop.store()).await;
    for key in ["customer-0", "customer-1", "customer-2"] {
        assert_eq!(ids(&published, key), ids(&messages, key));
    }
}

#[tokio::test]
async fn a_broker_fails_on_purpose() {
    let shop = TestOutbox::sqlite().await;
    let messages = ["rejected", "failing", "flaky", "fine"].map(paid);
    commit(&shop, &messages).await;
    let broker = publisher();
    broker.poison(messages[0].id(), Outcome::Rejected("too large for it".into()));
    broker.poison(messages[1].id(), Outcome::Failed("not today".into()));
    broker.refuse(messages[2].id(), Outcome::Failed("not yet".into()));
    drain_to(shop.store(), broker.clone()).await;

    assert_nothing_enqueued(&*shop.store()).await;
    let accepted = messages.each_ref().map(|message| broker.broker().count(message.id()));
    assert_eq!(accepted, [0, 0, 1, 1]);
    let dead = shop.store().dead_letters(&DeadFilter::default(), 10).await.unwrap();
    let mut dead: Vec<_> = dead.iter().map(|dead| (dead.message.key(), &*dead.error)).collect();
    dead.sort_unstable();
    assert_eq!(dead, [(Some("failing"), "not today"), (Some("rejected"), "too large for it")]);
}

#[tokio::test]
#[should_panic(expected = "after 2s these wait in the outbox still:\n  Message {")]
async fn a_broker_that_stays_away_ends_the_test() {
    let shop = TestOutbox::sqlite().await;
    commit(&shop, &[paid("customer-7")]).await;
    let broker = publisher();
    broker.close().await.unwrap();
    drain_within(shop.store(), broker, Duration::from_secs(2)).await;
}

#[tokio::test]
async fn each_has_a_database_of_its_own_which_goes_with_it() {
    let names = Names { prefix: "shop_outbox".parse().unwrap(), ..Names::default() };
    let config = OutboxConfig { names, ..OutboxConfig::default() };
    let (shop, other) = (TestOutbox::sqlite_with(config).await, TestOutbox::sqlite().await);
    commit(&shop, &[paid("customer-7")]).await;
    assert_nothing_enqueued(&*other.store()).await;
    let count = sqlx::query_scalar("SELECT count(*) FROM shop_outbox");
    let count: i64 = count.fetch_one(shop.pool()).await.unwrap();
    assert_eq!(count, 1);
    let file = shop.file();
    assert!(file.exists());
    drop(shop);
    assert!(!file.exists());
}
