//! A whole relay, from rows that can't be read to brokers that take nothing.

use std::sync::Arc;
use std::time::Duration;

use outbox::relay::Event;
use outbox::{Admin as _, CancellationToken, DeadFilter, LazyPublisher, Relay, connect_publisher};
use outbox_testkit::servers::shared;
use outbox_testkit::service::TestOutbox;

use crate::witness::Events;
use crate::{CANARY, assert_silent, message, odd_messages, witness};

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_tells_what_happens_and_nothing_of_what_it_relays() {
    witness::watch();
    let shop = TestOutbox::sqlite().await;
    let mut tx = shop.outbox().begin(shop.pool()).await.unwrap();
    for topic in ["file", "returned", "down"] {
        tx.emit(message(topic)).unwrap();
    }
    tx.commit().await.unwrap();
    for (number, odd) in odd_messages("file").into_iter().enumerate() {
        // As another program would: without our checks.
        let headers = serde_json::to_string(odd.headers()).unwrap();
        let headers = if number == 0 { format!("{{\"{CANARY}\": 1}}") } else { headers };
        let insert = "INSERT INTO outbox (partition_no, id, topic, message_key, payload, headers) \
                      VALUES (0, ?, 'file', ?, ?, ?)";
        let insert = sqlx::query(insert).bind(odd.id().as_bytes().to_vec()).bind(odd.key());
        let insert = insert.bind(odd.payload().to_vec()).bind(headers);
        insert.execute(shop.pool()).await.unwrap();
    }

    let directory = tempfile::tempdir().unwrap();
    let file = format!("file:{}", directory.path().join("events").display());
    let down = format!("redis://{CANARY}:{CANARY}@127.0.0.1:1");
    let events = Events::new();
    let relay = Relay::builder(shop.store(), connect_publisher(&file).await.unwrap())
        .publisher("rabbit", connect_publisher(&shared("OUTBOX_TEST_RABBITMQ")).await.unwrap())
        .publisher("down", Arc::new(LazyPublisher::new(&down).unwrap()))
        .route("returned", "rabbit")
        .route("down", "down")
        .observer(Arc::clone(&events) as _)
        .build()
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { relay.run(stop).await }
    });
    let all = || {
        let died = |event: &Event| matches!(event, Event::Dead { .. });
        events.has(died) && events.has(|event| matches!(event, Event::BreakerOpened(..)))
    };
    for _ in 0..1200 {
        let dead = shop.store().dead_letters(&DeadFilter::default(), 100).await.unwrap();
        if all() && dead.len() >= 2 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    stop.cancel();
    running.await.unwrap();
    assert!(all(), "a message died, and a broker was down");
    let dead = shop.store().dead_letters(&DeadFilter::default(), 100).await.unwrap();
    assert!(dead.len() >= 2, "the row that can't be read, and the one that came back: {dead:?}");
    for letter in dead {
        assert_silent("a dead letter", &format!("{letter:?} {}", letter.error));
    }
    witness::assert_nothing_seen();
}
