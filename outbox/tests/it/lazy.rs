//! Brokers that are connected to later.

use std::sync::Arc;
use std::time::Duration;

use outbox::{
    CancellationToken, Ending, LazyPublisher, Message, Publisher, Relay, RelayConfig, RetryPolicy,
    StoreUrl, connect_publisher,
};
use outbox_testkit::servers::{self, shared};
use uuid::Uuid;

/// What a relay knows of a publisher doesn't depend on whether it was connected at its start. Seen
/// to fail with the defaults in place of what the configuration says.
#[tokio::test(flavor = "multi_thread")]
async fn it_declares_what_it_declares_once_it_is_connected() {
    let directory = tempfile::tempdir().unwrap();
    let kafka = shared("OUTBOX_TEST_KAFKA");
    for url in [
        format!("{kafka}?transactional_id={}", Uuid::now_v7()),
        kafka,
        shared("OUTBOX_TEST_NATS"),
        shared("OUTBOX_TEST_RABBITMQ"),
        shared("OUTBOX_TEST_REDIS"),
        shared("OUTBOX_TEST_SQS") + "&concurrency=3&max_bytes=2048",
        format!("file:{}", directory.path().join("events").display()),
        "stdout:".to_owned(),
    ] {
        let lazy = LazyPublisher::new(&url).unwrap();
        let connected = connect_publisher(&url).await.unwrap();
        let declared = (connected.ordering(), connected.limits());
        assert_eq!((lazy.ordering(), lazy.limits()), declared, "{url}");
        connected.close().await.unwrap();
    }
}

/// Seen to fail when an attempt that has failed is kept.
#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_comes_up_later_gets_all_of_its_messages() {
    let mut redis = servers::redis(&[]).await;
    redis.stop();
    let directory = tempfile::tempdir().unwrap();
    let store = format!("sqlite:{}", directory.path().join("test.db").display());
    let store: StoreUrl = store.parse().unwrap();
    store.migrate(4).await.unwrap();
    let store = store.connect().await.unwrap();
    let messages: Vec<_> =
        (0..20).map(|n| Message::json("orders", &n).key(n % 3).build().unwrap()).collect();
    store.enqueue_all(&messages).await.unwrap();

    let publisher = Arc::new(LazyPublisher::new(&redis.url()).unwrap());
    assert!(publisher.connect().await.is_err(), "it is down");
    let once = RetryPolicy { max_attempts: 1, ..RelayConfig::default().retry };
    let config = RelayConfig { retry: once, ..RelayConfig::default() };
    let relay = Relay::builder(store.store(), publisher.clone()).config(config).build().unwrap();
    let stop = CancellationToken::new();
    let meanwhile = async {
        // That the relay has tried in vain is seen by its lease: it tries at once.
        while store.admin().stats().await.unwrap().relays == 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        redis.start_again().await;
        while store.admin().stats().await.unwrap().depth > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        stop.cancel();
    };
    let patience = Duration::from_mins(1);
    let both = async { tokio::join!(relay.run(stop.clone()), meanwhile).0 };
    assert_eq!(tokio::time::timeout(patience, both).await.unwrap(), Ending::Clean);
    assert_eq!(store.admin().stats().await.unwrap().dead, 0);
    assert_eq!(publisher.check().await, Ok(()));
    assert_eq!(relay.close().await, Ok(()));
}
