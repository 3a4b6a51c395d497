//! The program's log tells nothing of what it relays, nor any password, even at its loudest.

use std::process::Stdio;
use std::time::Duration;

use outbox_testkit::servers::{shared, with_options};

use crate::program::{Bed, Ran, command, outbox, terminate};

/// Relays a message of which every part but the topic is a canary, and returns what was logged.
async fn relayed(broker: &str, drains: bool) -> String {
    let bed = Bed::new();
    let topic = uuid::Uuid::now_v7().simple().to_string();
    let line = format!(
        "{{\"topic\":\"{topic}\",\"key\":\"canary\",\"headers\":{{\"a\":\"canary\"}},\
         \"payload\":\"canary\"}}\n"
    );
    bed.enqueue(&line).done();
    let broker = broker.replace("TOPIC", &topic);
    let mut relay =
        command(&["relay", "--store", &bed.store, "--log", "trace", "--max-attempts", "1"]);
    relay.env("OUTBOX_BROKER", broker).stdout(Stdio::null()).stderr(Stdio::piped());
    if drains {
        return Ran::from(relay.arg("--drain").output().unwrap()).stderr;
    }
    // It would wait for the broker for ever.
    let relay = relay.spawn().unwrap();
    tokio::time::sleep(Duration::from_secs(3)).await;
    terminate(&relay);
    Ran::from(relay.wait_with_output().unwrap()).stderr
}

/// As text, or as bytes.
#[track_caller]
fn assert_silent(said: &str) {
    assert!(said.contains("TRACE") || said.contains("DEBUG"), "it says nothing: {said}");
    for form in ["canary", "99, 97, 110, 97, 114, 121", "63616e617279"] {
        let telling: Vec<_> = said.lines().filter(|line| line.contains(form)).collect();
        assert!(telling.is_empty(), "{}", telling.join("\n"));
    }
}

#[tokio::test]
async fn at_its_loudest_it_tells_nothing_of_a_message() {
    let with = |variable, options: &str| with_options(&shared(variable), options);
    for broker in [
        with("OUTBOX_TEST_KAFKA", "create_topics=true"),
        with("OUTBOX_TEST_NATS", "create_stream=TOPIC&subjects=TOPIC"),
        with("OUTBOX_TEST_RABBITMQ", ""),
        with("OUTBOX_TEST_REDIS", ""),
        with("OUTBOX_TEST_SQS", ""),
    ] {
        assert_silent(&relayed(&broker, true).await);
    }
}

#[tokio::test]
async fn at_its_loudest_it_tells_no_password() {
    for scheme in ["kafka", "nats", "amqp", "redis", "sqs"] {
        let region = if scheme == "sqs" { "?region=us-east-1" } else { "" };
        let broker = format!("{scheme}://relay:canary@127.0.0.1:1{region}");
        let said = relayed(&broker, false).await;
        assert!(!said.contains("canary"), "{said}");
    }
    let rabbit = shared("OUTBOX_TEST_RABBITMQ").replace(":outbox@", ":canary@");
    assert_silent(&relayed(&rabbit, false).await);
    for server in ["OUTBOX_TEST_POSTGRES", "OUTBOX_TEST_MARIADB"].map(shared) {
        let store = server.replace(":outbox@", ":canary@");
        let status = outbox(&["status", "--log", "trace", "--store", &store]);
        status.refused(3, &["can't be used"]);
    }
}
