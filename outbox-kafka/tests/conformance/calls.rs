//! Calls side by side, and connections.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::{Outcome, Publisher};
use outbox_kafka::{KafkaError, KafkaPublisher};

use crate::broker::{PATIENCE, new_topic, servers, shared};
use crate::consumer;
use crate::publishing::{batch, connect, ids, messages, publish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_is_given_up_does_not_touch_another() {
    let url = shared();
    let topic = new_topic(&servers(&url), &[]).await;
    let publisher = Arc::new(connect(&url).await);
    let steady = tokio::spawn({
        let (publisher, topic) = (Arc::clone(&publisher), topic.clone());
        async move {
            for _ in 0..20 {
                let outcomes = publish(&publisher, &messages(&topic, 500)).await;
                assert_eq!(outcomes, vec![Outcome::Delivered; 500]);
            }
        }
    });
    while !steady.is_finished() {
        let sent = batch(&messages(&topic, 500));
        let mut outcomes = vec![Outcome::Unknown; sent.len()];
        let call = publisher.publish(&sent, Instant::now() + PATIENCE, &mut outcomes);
        let _ = tokio::time::timeout(Duration::from_millis(1), call).await;
    }
    steady.await.unwrap();
}

/// Already when the call has been dropped, not soon after.
#[tokio::test]
async fn a_dropped_call_takes_back_what_waits_for_company() {
    let url = shared();
    let topic = new_topic(&servers(&url), &[]).await;
    let linger = Duration::from_millis(40);
    let publisher = connect(&format!("{url}?linger_ms={}", linger.as_millis())).await;
    let mut taken_back = Vec::new();
    for _ in 0..20 {
        assert_eq!(publish(&publisher, &messages(&topic, 1)).await, [Outcome::Delivered]);
        let (sent, began) = (messages(&topic, 10), Instant::now());
        let batch = batch(&sent);
        let mut outcomes = vec![Outcome::Unknown; batch.len()];
        let call = publisher.publish(&batch, began + PATIENCE, &mut outcomes);
        let _ = tokio::time::timeout(Duration::from_millis(1), call).await;
        // On a machine that stands still for so long they may have been sent.
        if began.elapsed() < linger / 2 {
            taken_back.extend(ids(&sent));
        }
    }
    tokio::time::sleep(linger * 10).await;
    let arrived = ids(&consumer::read(&servers(&url), &topic).await);
    let sent = taken_back.iter().filter(|id| arrived.contains(id)).count();
    assert_eq!(sent, 0, "of {}", taken_back.len());
    assert!(!taken_back.is_empty());
}

#[tokio::test]
async fn more_calls_than_connections_wait_for_each_other() {
    let url = shared();
    let topic = new_topic(&servers(&url), &[]).await;
    let publisher = Arc::new(connect(&format!("{url}?connections=1")).await);
    let calls: Vec<_> = (0..8)
        .map(|_| {
            let (publisher, sent) = (Arc::clone(&publisher), messages(&topic, 50));
            tokio::spawn(async move { publish(&publisher, &sent).await })
        })
        .collect();
    for call in calls {
        assert_eq!(call.await.unwrap(), vec![Outcome::Delivered; 50]);
    }
}

/// FAILURES row 48: what is under way when the program ends. Seen to be lost while closing didn't
/// wait for it.
#[tokio::test]
async fn closing_waits_for_what_is_under_way() {
    let url = shared();
    let topic = new_topic(&servers(&url), &[]).await;
    let publisher = Arc::new(connect(&format!("{url}?linger_ms=2000")).await);
    let sent = messages(&topic, 100);
    let call = tokio::spawn({
        let (publisher, sent) = (Arc::clone(&publisher), sent.clone());
        async move { publish(&publisher, &sent).await }
    });
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert_eq!(publisher.close().await, Ok(()));
    let arrived = ids(&consumer::read(&servers(&url), &topic).await);
    assert!(sent.iter().all(|message| arrived.contains(&message.id())));
    assert_eq!(call.await.unwrap(), vec![Outcome::Delivered; 100]);
    assert_eq!(publisher.close().await, Ok(()), "a second time");
    assert!(publisher.check().await.is_err());
}

#[tokio::test]
async fn where_nobody_listens_is_worth_another_try() {
    let config = "kafka://127.0.0.1:1?connect_timeout_ms=500".parse().unwrap();
    let error = KafkaPublisher::connect(config).await.unwrap_err();
    assert!(matches!(error, KafkaError::Unreachable(_)), "{error}");
    assert!(error.is_retryable());
    assert!(error.to_string().contains("Connection refused"), "{error}");
}

#[tokio::test]
async fn what_librdkafka_refuses_is_named_without_its_value() {
    for (url, says) in [
        ("kafka://h?socket.bananas=canary", "`socket.bananas`: there is none of that name"),
        ("kafka://h?socket.timeout.ms=canary", "`socket.timeout.ms`: its value"),
        ("kafkas://h?ca=/nowhere/ca.pem", "librdkafka can't be started"),
    ] {
        let error = KafkaPublisher::connect(url.parse().unwrap()).await.unwrap_err();
        assert!(!error.is_retryable());
        let error = error.to_string();
        assert!(error.contains(says) && !error.contains("canary"), "{error}");
    }
}
