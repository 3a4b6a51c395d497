//! Dead letters.

use sqlx::Connection as _;
use sqlx::sqlite::SqliteConnection;

use crate::program::{Bed, outbox, published};

/// Moves what is pending to the dead letters, as a relay does after the last attempt.
async fn kill_all(bed: &Bed) {
    let columns = "partition_no, seq, id, topic, message_key, message_type, content_type, payload, \
                   headers, created_at";
    let sql = format!(
        "INSERT INTO outbox_dead ({columns}, attempts, error, died_at) \
         SELECT {columns}, 3, 'it was refused', created_at FROM outbox; DELETE FROM outbox"
    );
    let mut connection = SqliteConnection::connect(&bed.store).await.unwrap();
    sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

#[tokio::test]
async fn dead_letters_are_listed_shown_put_back_and_deleted() {
    let bed = Bed::new();
    let lines = ["a", "b", "c"].map(|key| {
        format!("{{\"topic\":\"orders\",\"key\":\"{key}\",\"payload\":\"canary {key}\"}}\n")
    });
    bed.enqueue(&lines.concat()).done();
    kill_all(&bed).await;
    let dead = |args: &[&str]| outbox(&[&["dead"], args, &["--store", &bed.store]].concat());

    let list = dead(&["list"]).done();
    assert!(list.contains("it was refused") && !list.contains("canary"), "{list}");
    let one = dead(&["list", "--key", "b", "--json"]).done();
    let one: serde_json::Value = serde_json::from_str(&one).unwrap();
    assert_eq!((&one["attempts"], &one["topic"]), (&3.into(), &"orders".into()));
    let id = one["id"].as_str().unwrap();
    assert!(!dead(&["show", id]).done().contains("canary"));
    assert_eq!(dead(&["show", id, "--payload"]).done(), "\"canary b\"");
    let nobody = "00000000-0000-7000-8000-000000000000";
    dead(&["show", nobody]).refused(1, &["no dead letter has id", "outbox dead list"]);

    dead(&["redrive"]).refused(2, &["which dead letters", "--all"]);
    let dry = dead(&["redrive", "--error", "was refused", "--dry-run"]).done();
    assert_eq!((&*dry, bed.depth()), ("would put 3 messages back\n", 0));
    assert_eq!(dead(&["redrive", "--older-than", "9999d"]).done(), "put 0 messages back\n");
    dead(&["discard"]).refused(2, &["which dead letters", "--all"]);
    assert_eq!(dead(&["redrive", "--id", id, "--by", "Ada"]).done(), "put 1 messages back\n");
    assert_eq!(bed.depth(), 1);
    assert_eq!(dead(&["discard", "--key", "a"]).done(), "deleted 1 dead letters\n");
    let audit = dead(&["audit"]).done();
    assert!(audit.contains("Ada") && audit.contains(&format!("id {id}")), "{audit}");
    let last = dead(&["audit", "--json", "--limit", "1"]).done();
    let last: serde_json::Value = serde_json::from_str(&last).unwrap();
    assert_eq!((&last["action"], &last["messages"]), (&"discard".into(), &1.into()));
    let purge = |age| outbox(&["purge", "--store", &bed.store, "--older-than", age]).done();
    assert_eq!(purge("7d"), "deleted 0 dead letters\n");
    assert_eq!(purge("0s"), "deleted 1 dead letters\n");

    let file = bed.path("events.jsonl");
    let broker = format!("file:{}", file.display());
    outbox(&["relay", "--drain", "--store", &bed.store, "--broker", &broker]).done();
    let published = published(&file);
    assert_eq!(published.len(), 1);
    assert_eq!(published[0]["key"], "b");
}

/// The broker is a file that can't be written to for one message only: what comes after it waits,
/// and comes back with it in order.
#[tokio::test]
async fn a_parked_lane_is_seen_and_put_back_in_order() {
    let bed = Bed::new();
    let line =
        |key: &str, n: u32| format!("{{\"topic\":\"orders\",\"key\":\"{key}\",\"payload\":{n}}}\n");
    bed.enqueue(&[line("a", 1), line("a", 2), line("b", 3)].concat()).done();
    // No producer of ours writes headers that can't be read.
    let mut connection = SqliteConnection::connect(&bed.store).await.unwrap();
    let spoil = "UPDATE outbox SET headers = 'spoilt' WHERE seq = 1";
    sqlx::query(spoil).execute(&mut connection).await.unwrap();
    let file = bed.path("events.jsonl");
    let broker = format!("file:{}", file.display());
    let relay = || {
        let args = ["relay", "--drain", "--dead-letters", "park", "--broker", &broker];
        outbox(&[&args[..], &["--store", &bed.store]].concat()).done()
    };
    relay();
    let keys = || published(&file).iter().map(|line| line["key"].clone()).collect::<Vec<_>>();
    assert_eq!(keys(), ["b"]);
    let status = outbox(&["status", "--store", &bed.store, "--json"]).done();
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    assert_eq!((&status["dead"], &status["parked"]), (&1.into(), &1.into()));
    let mend = "UPDATE outbox_dead SET headers = '[]' WHERE seq = 1";
    sqlx::query(mend).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    bed.enqueue(&line("a", 4)).done();
    let redrive = ["dead", "redrive", "--key", "a", "--store", &bed.store];
    assert_eq!(outbox(&redrive).done(), "put 2 messages back\n");
    relay();
    assert_eq!(keys(), ["b", "a", "a", "a"]);
    let payloads: Vec<_> = published(&file).iter().map(|line| line["payload"].clone()).collect();
    assert_eq!(payloads, [3, 1, 2, 4]);
}
