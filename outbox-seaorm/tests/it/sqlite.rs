//! What is SQLite's own.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outbox_core::StoreErrorKind;
use outbox_seaorm::{Error, Outbox, OutboxConfig};

use crate::support::{self, connect, message, number, sqlite_url};

#[tokio::test]
async fn an_in_memory_database_is_refused() {
    let db = connect("sqlite::memory:", 1).await;
    for result in [Outbox::migrate(&db).await, Outbox::open(&db).await.map(|_| ())] {
        match result.unwrap_err() {
            Error::Outbox(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Schema);
                assert!(error.to_string().contains("in-memory"), "{error}");
            }
            error => panic!("another error: {error:?}"),
        }
    }
}

const WRITER: &str = "OUTBOX_TEST_SQLITE_WRITER";

/// FAILURES row 34. Seen to fail with a deferred transaction in `Outbox::begin`: one that has read
/// can't write, and is told at once that the database is busy, whatever the busy time-out.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_writes_all_the_time() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("shared.db");
    let config = OutboxConfig { partitions: 4, ..OutboxConfig::default() };
    Outbox::migrate_with(&connect(&sqlite_url(&path), 1).await, &config).await.unwrap();
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::second_process", "--nocapture"])
        .env(WRITER, &path)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let bed = support::Bed::at(&path, directory).await;
    let until = Instant::now() + Duration::from_secs(2);
    let (mut delivered, mut own) = (0, 0);
    while Instant::now() < until {
        let mut tx = bed.outbox.begin(bed.db()).await.unwrap();
        // Reading first is what makes a deferred transaction fail when it writes.
        number(&tx, "SELECT count(*) FROM outbox").await;
        tokio::time::sleep(Duration::from_millis(2)).await;
        tx.emit(message("own")).unwrap();
        tx.commit().await.unwrap();
        own += 1;
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
    let db = connect(&sqlite_url(path.as_ref()), 1).await;
    let outbox = Outbox::open(&db).await.unwrap();
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        let mut tx = outbox.begin(&db).await.unwrap();
        tx.emit(message("other")).unwrap();
        tx.commit().await.unwrap();
    }
}
