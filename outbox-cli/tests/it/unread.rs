//! Standard output that nobody reads any more.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::program::{Bed, Running, command, lines, status, wait_until};

const PATIENCE: Duration = Duration::from_mins(1);

/// As `outbox relay --broker stdout: | head -1` is. Seen to fail before its fix: the relay took it
/// for an outage and went on for ever, with and without `--drain`.
#[tokio::test]
async fn a_relay_ends_when_its_reader_has_seen_enough() {
    for drain in [&[][..], &["--drain"]] {
        let bed = Bed::new();
        // More than a pipe holds.
        bed.enqueue(&lines(20_000, 50)).done();
        let relay = [&["relay", "--store", &bed.store, "--broker", "stdout:"][..], drain].concat();
        let (first, mut relay) = first_line(&relay);
        assert!(first.contains("\"topic\":\"t\""), "{first}");
        assert_eq!(relay.ended(PATIENCE).await, 4);
        let log = std::io::read_to_string(relay.0.stderr.take().unwrap()).unwrap();
        assert!(log.contains("error: nobody reads standard output any more\n help: "), "{log}");
        let status = status(&bed.store);
        assert!(status["depth"].as_u64() > Some(0), "{status}");
        assert_eq!((&status["dead"], &status["relays"]), (&0.into(), &0.into()), "{status}");
    }
}

/// Also when there is nothing to publish, by which it would notice.
#[tokio::test]
async fn a_relay_that_is_idle_ends_with_its_reader() {
    let bed = Bed::new();
    bed.enqueue(&lines(1, 1)).done();
    let (_, mut relay) = first_line(&["relay", "--store", &bed.store, "--broker", "stdout:"]);
    assert_eq!(relay.ended(PATIENCE).await, 4);
    assert_eq!(bed.depth(), 0);
}

/// A route counts as well, and whoever writes elsewhere needs no reader.
#[tokio::test]
async fn only_a_relay_that_writes_there_needs_a_reader() {
    let bed = Bed::new();
    let file = format!("file:{}", bed.path("events.jsonl").display());
    let start = |options: &[&str]| {
        let relay = ["relay", "--store", &bed.store, "--broker", &file];
        let mut relay = Running::start(&[&relay[..], options].concat());
        drop(relay.0.stdout.take());
        relay
    };
    assert_eq!(start(&["--route", "debug.*=stdout:"]).ended(PATIENCE).await, 4);
    let mut elsewhere = start(&[]);
    bed.enqueue(&lines(20, 5)).done();
    wait_until(PATIENCE, || bed.depth() == 0).await;
    elsewhere.terminate();
    assert_eq!(elsewhere.ended(PATIENCE).await, 0);
}

/// The first line that a program prints, after which nobody reads it any more.
fn first_line(args: &[&str]) -> (String, Running) {
    let mut command = command(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut running = Running(command.spawn().unwrap());
    let mut line = String::new();
    BufReader::new(running.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    (line, running)
}
