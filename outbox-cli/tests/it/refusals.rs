//! What is refused, with which code, and with what advice.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Stdio;

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use crate::program::{Bed, Ran, command, outbox, outbox_with};

#[test]
fn a_bad_url() {
    let status = |store: &str| outbox(&["status", "--store", store]);
    status("oracle://u:canary@h/d").refused(2, &["names no store", "help: use one of"]);
    status("canary").refused(2, &["it has no scheme"]);
    let port = "a port is no number between 1 and 65535";
    status("postgres://u:canary@h:port/d").refused(2, &["postgres:…", port]);
    status("mysql://u:canary@h:70000/d").refused(2, &["mysql:…", port]);
    status("sqlite:a.db?outbox_prefix=B-d").refused(2, &["is no valid name"]);
    outbox(&["status"]).refused(2, &["--store"]);
}

/// Seen to fail before its fix: the program panicked, with code 101.
#[test]
fn an_argument_that_is_no_text() {
    let mut status = command(&["status", "--store"]);
    status.arg(OsStr::from_bytes(b"postgres://u:canary@h/\xff"));
    Ran::from(status.output().unwrap()).refused(2, &["invalid UTF-8"]);
}

#[test]
fn a_password_is_never_printed() {
    let url = "postgres://canary:canary@127.0.0.1:1/d?password=canary";
    let connecting = ["status", "--log", "trace", "--store", url];
    outbox(&connecting).refused(3, &["postgres://127.0.0.1:1/d", "check that the database runs"]);
    // Where it doesn't belong, clap would quote it.
    outbox(&["status", url]).refused(2, &["postgres://127.0.0.1:1/d"]);
    outbox(&[url]).refused(2, &["postgres://127.0.0.1:1/d"]);
    outbox(&["purge", "--store", url, "--older-than", url]).refused(2, &["--older-than"]);
    let joined = format!("--older-than={url}");
    outbox(&["purge", "--store", url, &joined]).refused(2, &["postgres://127.0.0.1:1/d"]);
    outbox(&["relay", "--store", url, "--broker", "kafka://u:canary@h"]).refused(3, &[]);
}

#[test]
fn a_server_that_is_not_there() {
    for server in ["postgres://127.0.0.1:1/d", "mysql://127.0.0.1:1/d"] {
        let url = server.replace("//", "//canary:canary@");
        for command in
            [&["status"][..], &["migrate"], &["enqueue"], &["relay", "--broker", "stdout:"]]
        {
            let ran = outbox(&[command, &["--store", &url]].concat());
            ran.refused(3, &[server, "can't be reached", "check that the database runs"]);
        }
    }
}

#[test]
fn a_bad_broker() {
    let bed = Bed::new();
    let relay = |broker: &str| outbox(&["relay", "--store", &bed.store, "--broker", broker]);
    relay("pigeon://u:canary@h").refused(2, &["`pigeon:` names no publisher"]);
    let several = relay("kafka://u:canary@a.invalid:9092,b.invalid?bach=canary");
    several.refused(2, &["the URL `kafka://a.invalid:9092,b.invalid` can't be used"]);
    let option = "nats://u:canary@127.0.0.1:1?canary_option=1";
    assert_eq!(relay(option).ended(2).code, 2);
    let missing = format!("file:{}/none/events", bed.path("").display());
    relay(&missing).refused(4, &["does not exist", "help:"]);
}

/// Seen to fail before its fix: it spoke of a publisher, and a login that was refused of a broker
/// that doesn't run.
#[test]
fn a_broker_that_can_not_be_read() {
    let tail = |broker: &str| outbox(&["tail", "--broker", broker, "t"]);
    let down = tail("nats://u:canary@127.0.0.1:1");
    assert!(!down.stderr.contains("publisher"), "{}", down.stderr);
    down.refused(4, &["the broker `nats://127.0.0.1:1` can't be used", "that the broker runs"]);
    let rabbit = std::env::var("OUTBOX_TEST_RABBITMQ");
    let rabbit = rabbit.unwrap_or("amqp://outbox:outbox@127.0.0.1:15673/%2f".into());
    let refused = tail(&rabbit.replace(":outbox@", ":canary@"));
    assert!(!refused.stderr.contains("runs"), "{}", refused.stderr);
    refused.refused(4, &["ACCESS_REFUSED", "correct the URL's user, password"]);
}

/// Seen to fail before its fix: what can't be read was listed among what can.
#[test]
fn only_brokers_are_read() {
    for (url, scheme) in [("pigeon://h", "pigeon"), ("file:events", "file"), ("stdout:", "stdout")]
    {
        let tail = outbox(&["tail", "--broker", url, "t"]);
        let known = "help: use one of `kafka:`, `nats:`, `amqp:`, `sqs:`, `redis:`\n";
        tail.refused(2, &[&format!("`{scheme}:` names no broker"), known]);
    }
}

/// As `outbox status | head` does. Seen to fail before its fix, with `Broken pipe` and code 1.
#[test]
fn an_answer_that_nobody_reads_is_no_error() {
    let bed = Bed::new();
    let mut status = command(&["status", "--store", &bed.store]);
    status.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut status = status.spawn().unwrap();
    drop(status.stdout.take());
    let ended = Ran::from(status.wait_with_output().unwrap()).ended(0);
    assert_eq!(ended.stderr, "");
}

#[test]
fn settings_that_break_a_promise() {
    let bed = Bed::new();
    let relay = |options: &[&str]| {
        let relay = ["relay", "--store", &bed.store, "--broker", "stdout:"];
        outbox(&[&relay[..], options].concat())
    };
    let long = relay(&["--lease", "4s", "--publish-timeout", "3s"]);
    long.refused(2, &["publish_timeout", "half the lease", "help: change that option"]);
    relay(&["--log", "a=b=c"]).refused(2, &["help: write --log as"]);
    relay(&["--lease", "4"]).refused(2, &["a number with a unit"]);
}

/// Seen to fail before its fix: it named what the options set, or took nothing for a time to stop.
#[test]
fn an_option_is_refused_by_its_own_name() {
    let bed = Bed::new();
    let relay = |options: &[&str]| {
        let relay = ["relay", "--drain", "--store", &bed.store, "--broker", "stdout:"];
        outbox(&[&relay[..], options].concat())
    };
    relay(&["--window", "0"]).refused(2, &["--window"]);
    relay(&["--max-attempts", "0"]).refused(2, &["--max-attempts"]);
    for option in ["--stop-timeout", "--retry-min", "--retry-max", "--poll-min", "--poll-max"] {
        relay(&[option, "0s"]).refused(2, &[option, "longer than zero"]);
    }
    let retry = relay(&["--retry-min", "3m"]);
    retry.refused(2, &["--retry-min is longer than --retry-max", "help: change that option"]);
    relay(&["--poll-max", "4ms"]).refused(2, &["--poll-min is longer than --poll-max"]);
}

#[test]
fn a_missing_file_a_missing_migration_and_an_unknown_prefix() {
    let bed = Bed::without_tables();
    let status = |store: &str| outbox(&["status", "--store", store]);
    status(&bed.store).refused(3, &["can't be used", "file is created by `outbox migrate`"]);
    std::fs::write(bed.path("test.db"), "").unwrap();
    status(&bed.store).refused(3, &["there is no outbox `outbox`", "outbox migrate"]);
    outbox(&["migrate", "--store", &bed.store]).done();
    status(&bed.store).done();
    let other = format!("{}?outbox_prefix=events", bed.store);
    status(&other).refused(3, &["there is no outbox `events`", "outbox_prefix"]);
}

/// Seen to fail before its fix: the help was to migrate.
#[tokio::test]
async fn another_version_of_the_tables() {
    let bed = Bed::new();
    let mut connection = SqliteConnection::connect(&bed.store).await.unwrap();
    sqlx::raw_sql("UPDATE outbox_meta SET version = 99").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    for command in ["status", "migrate"] {
        let refused = outbox(&[command, "--store", &bed.store]);
        assert!(!refused.stderr.contains("outbox migrate"), "that is no help: {}", refused.stderr);
        refused.refused(3, &["version 99", "update the program", "help:"]);
    }
}

/// Seen to fail before its fix: the help spoke of partitions.
#[test]
fn a_schema_where_there_are_none() {
    let bed = Bed::without_tables();
    let store = format!("{}?outbox_schema=billing", bed.store);
    let said = ["SQLite has no schemas: leave `outbox_schema` out", "help: correct the URL"];
    outbox(&["migrate", "--store", &store]).refused(2, &said);
}

#[test]
fn another_number_of_partitions() {
    let bed = Bed::new();
    let migrate = ["migrate", "--store", &bed.store, "--partitions"];
    outbox(&[&migrate[..], &["8"]].concat()).refused(3, &["16 partitions", "for ever"]);
    outbox(&[&migrate[..], &["0"]].concat()).refused(2, &["1..=1024"]);
}

#[test]
fn one_invalid_line_stops_its_batch() {
    let bed = Bed::new();
    let good = "{\"topic\":\"t\",\"payload\":1}";
    let large = format!("{{\"topic\":\"t\",\"payload\":\"{}canary\"}}", "x".repeat(1 << 20));
    let key = format!("{{\"topic\":\"t\",\"key\":\"{}\",\"payload\":1}}", "canary".repeat(86));
    for (bad, reason) in [
        ("{\"topic\":\"canary\"", "line 2: not valid JSON at column"),
        ("{\"payload\":\"canary\"}", "line 2: `topic` is missing"),
        (
            "{\"topic\":\"t\",\"key\":\"can\\u0000ary\",\"payload\":1}",
            "line 2: the key contains a NUL",
        ),
        (&large, "line 2: the payload has"),
        (&key, "line 2: the key has 516 bytes, the limit is 512"),
    ] {
        let input = format!("{good}\n{bad}\n{good}\n");
        bed.enqueue(&input).refused(5, &[reason, "1 invalid lines; nothing was stored"]);
        assert_eq!(bed.depth(), 0);
    }
    let input = format!("{good}\n{{\"topic\":\n{good}\n");
    let skipping = ["enqueue", "--skip-invalid", "--store", &bed.store];
    let skipped = outbox_with(&skipping, &input).ended(0);
    assert_eq!(skipped.stdout, "stored 2 messages, skipped 1\n");
    assert!(skipped.stderr.contains("line 2: not valid JSON"), "{}", skipped.stderr);
    assert_eq!(bed.depth(), 2);
}
