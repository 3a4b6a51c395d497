//! Topics that go to different publishers.

use std::sync::Arc;
use std::sync::atomic::Ordering as Atomic;

use outbox_core::{Ending, Message, Ordering, Relay};
use outbox_testkit::memory::{MemoryPublisher, MemoryStore};

use crate::driver::{Moody, quick, run_during, store, until};

fn with_topics(store: &MemoryStore, topics: &[&'static str], each: usize) {
    let message = |n| Message::bytes(topics[n % topics.len()], "x").key(n).build().unwrap();
    let messages: Vec<Message> = (0..each * topics.len()).map(message).collect();
    let now = store.now();
    store.database().enqueue(now, messages).unwrap();
}

/// Seen to fail with every topic routed to the first publisher.
#[tokio::test]
async fn one_destination_that_is_down_stops_no_other() {
    let store = store();
    let here = Arc::new(MemoryPublisher::new(Ordering::Independent));
    let down = Arc::new(Moody::new(MemoryPublisher::new(Ordering::Independent)));
    down.hangs.store(true, Atomic::SeqCst);
    with_topics(&store, &["orders", "audit.eu", "audit"], 50);
    let relay = Relay::builder(store.clone(), here.clone())
        .publisher("auditors", down.clone())
        .route("audit.*", "auditors")
        .config(quick())
        .build()
        .unwrap();
    let meanwhile = async {
        until("what goes elsewhere", || here.broker().log().len() == 100).await;
        assert!(here.broker().log().iter().all(|one| one.message.topic() != "audit.eu"));
        assert!(store.database().backlog() >= 1, "what is for the other waits");
        down.hangs.store(false, Atomic::SeqCst);
        until("the rest", || store.database().backlog() == 0).await;
    };
    assert_eq!(run_during(&relay, meanwhile).await, Ending::Clean);
    assert_eq!(relay.close().await, Ok(()));
    let broker = down.inner.broker();
    let audited = broker.log();
    assert!(audited.len() >= 50 && audited.iter().all(|one| one.message.topic() == "audit.eu"));
}

#[test]
fn a_route_needs_its_publisher_and_a_publisher_its_own_name() {
    let publisher = || Arc::new(MemoryPublisher::new(Ordering::Independent));
    let builder = || Relay::builder(store(), publisher());
    let error = builder().route("*", "auditors").build().unwrap_err().to_string();
    assert!(error.contains("names a publisher that there isn't"), "{error}");
    let error = builder().publisher("default", publisher()).build().unwrap_err().to_string();
    assert!(error.contains("a name of its own"), "{error}");
}
