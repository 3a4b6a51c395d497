//! Stopping a relay.

use std::fs::File;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::program::{Bed, Running, command, lines, published, status, wait_until};

const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_signal_ends_a_relay_with_its_partitions_handed_back() {
    let bed = Bed::new();
    let file = bed.path("events.jsonl");
    let broker = format!("file:{}", file.display());
    let mut relay = Running::start(&["relay", "--store", &bed.store, "--broker", &broker]);
    bed.enqueue(&lines(20, 5)).done();
    wait_until(PATIENCE, || published(&file).len() == 20).await;
    relay.terminate();
    assert_eq!(relay.ended(PATIENCE).await, 0);
    assert!(handed_back(&bed.store));
    assert_eq!(bed.depth(), 0);
}

#[tokio::test]
async fn a_second_signal_stops_at_once_though_a_publish_blocks() {
    let bed = Bed::new();
    // More than a pipe holds, and nobody reads it.
    let payload = "x".repeat(200_000);
    bed.enqueue(&format!("{{\"topic\":\"t\",\"payload\":\"{payload}\"}}\n").repeat(5)).done();
    let arguments = ["relay", "--store", &bed.store, "--broker", "stdout:", "--stop-timeout", "5m"];
    let mut relay = Running::start(&arguments);
    wait_until(PATIENCE, || status(&bed.store)["partitions"][0]["owner"].is_string()).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    relay.terminate();
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(relay.0.try_wait().unwrap().is_none(), "it finishes what is on its way");
    let asked = Instant::now();
    relay.terminate();
    assert_eq!(relay.ended(PATIENCE).await, 1);
    assert!(asked.elapsed() < Duration::from_secs(5), "{:?}", asked.elapsed());
    assert!(bed.depth() > 0);
}

/// On a single worker, as a write that blocked an async thread would stop leases, logs and signals.
/// With such a write the leases were lost, messages waiting behind it counted attempts, and no
/// signal was heard.
#[tokio::test]
async fn a_reader_that_stands_still_costs_no_lease_no_attempt_and_no_second_signal() {
    let bed = Bed::new();
    let payload = "x".repeat(2_000);
    bed.enqueue(&format!("{{\"topic\":\"t\",\"payload\":\"{payload}\"}}\n").repeat(3_000)).done();
    let mut command = command(&["relay", "--store", &bed.store, "--broker", "stdout:"]);
    command.args(["--lease", "2s", "--publish-timeout", "1s", "--stop-timeout", "5m"]);
    command.env("TOKIO_WORKER_THREADS", "1");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut relay = Running(command.spawn().unwrap());
    let owner = || status(&bed.store)["partitions"][0]["owner"].clone();
    wait_until(PATIENCE, || owner().is_string()).await;
    let first = owner();
    // Several leases and deadlines.
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert_eq!(owner(), first);
    relay.terminate();
    assert_eq!(relay.ended(PATIENCE).await, 0);
    assert!(handed_back(&bed.store));
    assert!(bed.depth() > 0);
    let log = std::io::read_to_string(relay.0.stderr.take().unwrap()).unwrap();
    assert!(!log.contains("no answer in time"), "an attempt counts: {log}");
}

/// A file that another process keeps locked stands for any broker whose close hangs.
struct Locked {
    bed: Bed,
    _lock: File,
}

impl Locked {
    fn new() -> Self {
        let bed = Bed::new();
        let lock = File::create(bed.path("events.jsonl")).unwrap();
        lock.lock().unwrap();
        bed.enqueue(&lines(20, 5)).done();
        Self { bed, _lock: lock }
    }

    /// A relay whose first publish has been given up.
    async fn relay(&self, stop_timeout: &str) -> Running {
        let broker = format!("file:{}", self.bed.path("events.jsonl").display());
        let arguments = ["relay", "--store", &self.bed.store, "--broker", &broker];
        let timeouts = ["--lease=2s", "--publish-timeout=1s", "--stop-timeout", stop_timeout];
        let relay = Running::start(&[&arguments[..], &timeouts[..]].concat());
        let owner = || status(&self.bed.store)["partitions"][0]["owner"].clone();
        wait_until(PATIENCE, || owner().is_string()).await;
        tokio::time::sleep(Duration::from_millis(1_500)).await;
        relay
    }
}

/// Without a limit of its own, closing would hang for as long as the broker does.
#[tokio::test]
async fn a_broker_that_hangs_is_left_when_the_time_to_stop_is_over() {
    let locked = Locked::new();
    let mut relay = locked.relay("6s").await;
    relay.terminate();
    assert_eq!(relay.ended(PATIENCE).await, 0, "nothing was left to do");
    assert!(handed_back(&locked.bed.store));
    assert_eq!(locked.bed.depth(), 20);
}

/// When closing listened to nothing, this signal was ignored.
#[tokio::test]
async fn a_second_signal_leaves_a_broker_that_hangs() {
    let locked = Locked::new();
    let mut relay = locked.relay("5m").await;
    relay.terminate();
    wait_until(PATIENCE, || handed_back(&locked.bed.store)).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(relay.0.try_wait().unwrap().is_none(), "it closes the broker");
    relay.terminate();
    assert_eq!(relay.ended(PATIENCE).await, 0, "nothing was left to do");
}

/// Opening a pipe waits for its reader, as connecting to a broker may wait for an answer. A relay
/// that listened only once it was connected would not end.
#[tokio::test]
async fn a_signal_ends_a_relay_that_still_connects() {
    let bed = Bed::new();
    let pipe = bed.path("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let broker = format!("file:{}", pipe.display());
    let mut relay = Running::start(&["relay", "--store", &bed.store, "--broker", &broker]);
    wait_until(PATIENCE, || handles_sigterm(relay.0.id())).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(relay.0.try_wait().unwrap().is_none(), "it connects");
    relay.terminate();
    assert_eq!(relay.ended(PATIENCE).await, 0);
}

/// Before it does, the signal would kill the process.
fn handles_sigterm(process: u32) -> bool {
    const SIGTERM: u32 = 15;
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() >> (SIGTERM - 1) & 1 == 1
}

/// No relay is registered, and no partition has an owner.
fn handed_back(store: &str) -> bool {
    let status = status(store);
    let partitions = status["partitions"].as_array().unwrap();
    status["relays"] == 0 && partitions.iter().all(|partition| partition["owner"].is_null())
}
