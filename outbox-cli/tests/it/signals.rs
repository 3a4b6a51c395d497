//! Stopping a relay.

use std::time::{Duration, Instant};

use crate::program::{Bed, Running, lines, published, status, wait_until};

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
    let status = status(&bed.store);
    assert_eq!((&status["relays"], &status["depth"]), (&0.into(), &0.into()));
    let owned = status["partitions"].as_array().unwrap().iter().filter(|p| !p["owner"].is_null());
    assert_eq!(owned.count(), 0);
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
