//! Brokers.

use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox::{LazyPublisher, Message, Outcome, Publisher, connect_publisher, connect_tail};
use outbox_testkit::servers::{shared, with_options};

use crate::{CANARY, assert_shows_nothing, assert_silent, message, odd_messages, told, witness};

/// The parts of a URL: scheme, address, path and options.
fn url(scheme: &str, account: &str, address: &str, rest: &str) -> String {
    format!("{scheme}://{account}{address}{rest}")
}

async fn publish(publisher: &dyn Publisher, batch: &[Message]) -> Vec<Outcome> {
    let batch: Vec<_> = batch.iter().cloned().map(Arc::new).collect();
    let mut outcomes = vec![Outcome::Unknown; batch.len()];
    publisher.publish(&batch, Instant::now() + Duration::from_secs(5), &mut outcomes).await;
    for outcome in &outcomes {
        assert_silent("an outcome", &format!("{outcome:?}"));
    }
    outcomes
}

/// It can't be connected, and is used all the same.
async fn all_fail(url: &str) {
    let patience = Duration::from_secs(20);
    if let Ok(Err(error)) = tokio::time::timeout(patience, connect_publisher(url)).await {
        assert_silent(url, &(told(&error) + &error.remedy()));
    }
    if let Ok(Err(error)) = tokio::time::timeout(patience, connect_tail(url, "orders")).await {
        assert_silent(url, &told(&error));
    }
    match LazyPublisher::new(url) {
        Ok(lazy) => {
            assert_shows_nothing(url, &lazy);
            let outcomes = publish(&lazy, &[message("orders")]).await;
            assert!(!outcomes.contains(&Outcome::Delivered), "{url} takes it");
        }
        Err(error) => assert_silent(url, &told(&error)),
    }
}

/// Each by its scheme, where it is, and an option that holds a secret.
fn brokers() -> [(&'static str, String, &'static str); 5] {
    let address = |variable| {
        let shared = shared(variable);
        let (_, rest) = shared.split_once("://").unwrap();
        let rest = rest.rsplit_once('@').map_or(rest, |(_, place)| place);
        rest.split(['/', '?']).next().unwrap().to_owned()
    };
    [
        ("kafka", address("OUTBOX_TEST_KAFKA"), "?password="),
        ("nats", address("OUTBOX_TEST_NATS"), "?token="),
        ("amqp", address("OUTBOX_TEST_RABBITMQ"), "/%2f?password="),
        ("redis", address("OUTBOX_TEST_REDIS"), "/0?password="),
        ("sqs", address("OUTBOX_TEST_SQS"), "?region=us-east-1&access_key_id=k&secret_access_key="),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_can_not_be_used_tells_no_secret() {
    witness::watch();
    let account = format!("{CANARY}:{CANARY}@");
    for (scheme, address, secret) in brokers() {
        let secret = format!("{secret}{CANARY}");
        let down = "127.0.0.1:1";
        for url in [
            url(scheme, &account, down, ""),
            url(scheme, "", down, &secret),
            url(scheme, &account, &address, &format!("?nothing={CANARY}")),
            url(scheme, &format!("{CANARY}/{CANARY}@"), &address, ""),
        ] {
            all_fail(&url).await;
        }
    }
    // Servers that ask for a password, and get the wrong one.
    let (_, rabbit, _) = brokers()[2].clone();
    all_fail(&url("amqp", &account, &rabbit, "/%2f")).await;
    let locked = outbox_testkit::servers::redis(&["--requirepass", "other"]).await;
    all_fail(&url("redis", &account, &locked.address().to_string(), "")).await;
    let users = "authorization { users = [ { user: a, password: b } ] }";
    let locked = outbox_testkit::servers::nats(users).await;
    all_fail(&url("nats", &account, &locked.address().to_string(), "")).await;
    witness::assert_nothing_seen();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_is_told_by_nobody() {
    witness::watch();
    let topic = uuid::Uuid::now_v7().simple().to_string();
    for (name, options) in [
        ("OUTBOX_TEST_KAFKA", "create_topics=true".to_owned()),
        ("OUTBOX_TEST_NATS", format!("create_stream={topic}&subjects={topic}")),
        // It comes back, as there is no such queue.
        ("OUTBOX_TEST_RABBITMQ", String::new()),
        ("OUTBOX_TEST_REDIS", String::new()),
        ("OUTBOX_TEST_SQS", String::new()),
    ] {
        let url = with_options(&shared(name), &options);
        let publisher = connect_publisher(&url).await.unwrap();
        let outcomes = publish(&*publisher, &[message(&topic)]).await;
        let has_place = ["KAFKA", "NATS", "REDIS"].iter().any(|broker| name.ends_with(broker));
        assert_eq!(outcomes[0] == Outcome::Delivered, has_place, "{name}: {outcomes:?}");
        publish(&*publisher, &odd_messages(&topic)).await;
        publisher.close().await.unwrap();
    }
    witness::assert_nothing_seen();
}
