//! What is SQLite's own.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outbox_core::StoreErrorKind;
use outbox_sqlx::{Error, Identifier, Names, Outbox, OutboxConfig};
use sqlx::{Pool, Sqlite};

use crate::support::{self, keys, message, sqlite_pool};

#[tokio::test]
async fn an_in_memory_database_is_refused() {
    for url in ["sqlite::memory:", "sqlite:file:name?mode=memory&cache=shared"] {
        let pool = Pool::<Sqlite>::connect(url).await.unwrap();
        for result in [Outbox::migrate(&pool).await, Outbox::open(&pool).await.map(|_| ())] {
            match result.unwrap_err() {
                Error::Outbox(error) => {
                    assert_eq!(error.kind(), StoreErrorKind::Schema);
                    assert!(error.to_string().contains("in-memory"), "{error}");
                }
                error => panic!("another error: {error:?}"),
            }
        }
    }
}

#[tokio::test]
async fn a_schema_is_refused() {
    let place = support::sqlite_place().await;
    let schema = Some(Identifier::new("main").unwrap());
    let names = Names { schema, ..Names::default() };
    let error = Outbox::migrate_with(&place.pool, &OutboxConfig::named(names)).await.unwrap_err();
    assert!(format!("{error:?}").contains("SQLite has no schemas"), "{error:?}");
}

#[tokio::test]
async fn numbers_are_not_given_out_again() {
    let bed = support::sqlite().await;
    bed.enqueue(&["a"]).await;
    let first = bed.all().await;
    bed.deliver(&first).await;
    bed.enqueue(&["b"]).await;
    assert!(bed.all().await[0].seq > first[0].seq);
}

const WRITER: &str = "OUTBOX_TEST_SQLITE_WRITER";

/// FAILURES row 34. Seen to fail with `BEGIN` instead of `BEGIN IMMEDIATE` in the wrapper and in
/// `begin_write`: the transaction that has read can't write, and is told at once that the database
/// is busy, whatever the busy time-out.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_writes_all_the_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shared.db");
    let pool = sqlite_pool(&path).await;
    Outbox::migrate_with(&pool, &OutboxConfig { partitions: 4, ..OutboxConfig::default() })
        .await
        .unwrap();
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::second_process", "--nocapture"])
        .env(WRITER, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let bed = support::Bed::at(pool, directory).await;
    let owner = support::relay();
    let until = Instant::now() + Duration::from_secs(2);
    let (mut delivered, mut own) = (0, 0);
    while Instant::now() < until {
        let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
        // Reading first is what makes a deferred transaction fail when it writes.
        let _: i64 =
            sqlx::query_scalar("SELECT count(*) FROM outbox").fetch_one(&mut *tx).await.unwrap();
        tokio::time::sleep(Duration::from_millis(2)).await;
        tx.emit(message("own")).unwrap();
        tx.commit().await.unwrap();
        own += 1;
        bed.lease(owner, &[0, 1, 2, 3]).await;
        let rows = bed.all().await;
        delivered += rows.len();
        bed.deliver(&rows).await;
    }
    assert!(writer.wait().unwrap().success());
    delivered += bed.all().await.len();
    assert!(delivered > own, "the other process wrote {} messages", delivered - own);
}

/// The other process of [`a_second_process_writes_all_the_time`]; by itself it has nothing to do.
#[tokio::test]
async fn second_process() {
    let Ok(path) = std::env::var(WRITER) else { return };
    let pool = sqlite_pool(path.as_ref()).await;
    let outbox = Outbox::open(&pool).await.unwrap();
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        let mut tx = outbox.begin(&pool).await.unwrap();
        tx.emit(message("other")).unwrap();
        tx.commit().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_writer_that_waits_is_served_when_the_other_ends() {
    let bed = support::sqlite().await;
    bed.enqueue(&["a"]).await;
    let rows = bed.all().await;
    let held = bed.outbox.begin(bed.pool()).await.unwrap();
    let free = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        held.rollback().await.unwrap();
    };
    tokio::join!(free, bed.deliver(&rows));
    assert!(keys(&bed.all().await).is_empty());
}
