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
    dead(&["discard"]).refused(2, &["which dead letters", "--all"]);
    assert_eq!(dead(&["redrive", "--id", id]).done(), "put 1 dead letters back\n");
    assert_eq!(bed.depth(), 1);
    assert_eq!(dead(&["discard", "--key", "a"]).done(), "deleted 1 dead letters\n");
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
