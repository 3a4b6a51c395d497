//! The program with each broker, by its URL alone.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};

use outbox_testkit::servers::{self, shared, with_options};
use serde_json::Value;
use uuid::Uuid;

use crate::program::{Bed, Running, command, outbox};

const PATIENCE: Duration = Duration::from_mins(1);

/// A topic of a name of its own, in an outbox of its own.
struct Topic {
    bed: Bed,
    broker: String,
    name: String,
}

impl Topic {
    /// On a server that all tests share.
    fn shared(variable: &str, options: &str) -> Self {
        Self::at(&shared(variable), options)
    }

    /// The options make its destination, and have `{topic}` for its name.
    fn at(url: &str, options: &str) -> Self {
        let name = format!("cli-{}", Uuid::now_v7().simple());
        let broker = with_options(url, &options.replace("{topic}", &name));
        Self { bed: Bed::new(), broker, name }
    }

    fn relay(&self, number: u64) {
        let line = format!("{{\"topic\":\"{}\",\"key\":\"k\",\"payload\":{number}}}\n", self.name);
        self.bed.enqueue(&line).done();
        let store = ["relay", "--drain", "--store", &self.bed.store];
        assert_eq!(outbox(&[&store[..], &["--broker", &self.broker]].concat()).done(), "");
        assert_eq!(self.bed.depth(), 0);
    }

    fn tail(&self, options: &[&str]) -> Running {
        let tail = ["tail", "--broker", &self.broker, &self.name];
        Running::start(&[&tail[..], options].concat())
    }

    /// What is relayed is printed, from when the tail has begun: nothing is left out.
    async fn relays_and_prints(self) {
        self.relay(0);
        let mut tail = self.tail(&["--count", "2"]);
        let end = Instant::now() + PATIENCE;
        let mut relayed = 0;
        while tail.0.try_wait().unwrap().is_none() {
            assert!(Instant::now() < end, "nothing was printed of {relayed} messages");
            relayed += 1;
            self.relay(relayed);
        }
        assert_eq!(tail.ended(PATIENCE).await, 0);
        let printed = std::io::read_to_string(tail.0.stdout.take().unwrap()).unwrap();
        let printed: Vec<Value> =
            printed.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for message in &printed {
            assert_eq!(
                (&message["topic"], &message["key"]),
                (&self.name.as_str().into(), &"k".into())
            );
        }
        // SQS promises no order.
        let mut numbers: Vec<_> =
            printed.iter().map(|it| it["payload"].as_u64().unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [numbers[0], numbers[0] + 1]);

        // Seen to fail when it notices that by what it prints: nothing more arrives.
        let mut unread = self.tail(&[]);
        drop(unread.0.stdout.take());
        assert_eq!(unread.ended(PATIENCE).await, 0);
    }
}

#[tokio::test]
async fn kafka() {
    Topic::shared("OUTBOX_TEST_KAFKA", "create_topics=true").relays_and_prints().await;
}

#[tokio::test]
async fn kafka_with_a_fence() {
    let options = "create_topics=true&fence={topic}-fence";
    Topic::shared("OUTBOX_TEST_KAFKA", options).relays_and_prints().await;
}

#[tokio::test]
async fn nats() {
    let stream = "create_stream={topic}&subjects={topic}";
    Topic::shared("OUTBOX_TEST_NATS", stream).relays_and_prints().await;
}

#[tokio::test]
async fn nats_with_a_fence() {
    let stream = "create_stream={topic}&subjects={topic}.>&destination={topic}.sent";
    let options = format!("{stream}&fence={{topic}}.fence");
    Topic::shared("OUTBOX_TEST_NATS_NEWEST", &options).relays_and_prints().await;
}

#[tokio::test]
async fn rabbitmq() {
    Topic::shared("OUTBOX_TEST_RABBITMQ", "declare_queues=quorum").relays_and_prints().await;
}

#[tokio::test]
async fn redis() {
    Topic::shared("OUTBOX_TEST_REDIS", "").relays_and_prints().await;
}

#[tokio::test]
async fn sqs() {
    Topic::shared("OUTBOX_TEST_SQS", "create_queues=true").relays_and_prints().await;
}

/// Seen to fail before its fix: it said only what had happened.
#[tokio::test]
async fn a_tail_that_ends_with_its_broker_says_what_to_do() {
    let mut server = servers::redis(&[]).await;
    let topic = Topic::at(&server.url(), "");
    let mut tail = command(&["tail", "--broker", &topic.broker, &topic.name]);
    tail.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut tail = Running(tail.spawn().unwrap());
    let mut printed = BufReader::new(tail.0.stdout.take().unwrap());
    let first = std::thread::spawn(move || {
        let mut line = String::new();
        printed.read_line(&mut line).unwrap();
        (line, printed)
    });
    let mut relayed = 0;
    while !first.is_finished() {
        topic.relay(relayed);
        relayed += 1;
    }
    let (line, _printed) = first.join().unwrap();
    assert!(line.contains(&topic.name), "it ended: {line}");
    server.kill();
    assert_eq!(tail.ended(PATIENCE).await, 4);
    let said = std::io::read_to_string(tail.0.stderr.take().unwrap()).unwrap();
    assert!(said.contains("help: start it again when the broker runs"), "{said}");
}
