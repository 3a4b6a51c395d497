//! What is SQLite's own.

use std::process::{Command, Stdio};
use std::sync::Barrier;
use std::time::{Duration, Instant};

use diesel::connection::SimpleConnection as _;
use diesel::sql_types::Integer;
use diesel::{Connection as _, SqliteConnection};
use diesel_async::{AsyncConnection as _, SimpleAsyncConnection as _};
use outbox_core::{Store as _, StoreErrorKind};
use outbox_diesel::{Error, Outbox, OutboxTransaction, sync};

use crate::support::{self, AsyncSqlite, lease_request, message, relay};

#[test]
fn an_in_memory_database_is_refused() {
    let mut connection = SqliteConnection::establish(":memory:").unwrap();
    for result in
        [sync::Outbox::migrate(&mut connection), sync::Outbox::open(&mut connection).map(|_| ())]
    {
        match result.unwrap_err() {
            Error::Outbox(error) => {
                assert_eq!(error.kind(), StoreErrorKind::Schema);
                assert!(error.to_string().contains("in-memory"), "{error}");
            }
            error => panic!("another error: {error:?}"),
        }
    }
}

/// The time-out of a connection, in milliseconds.
fn busy_timeout(connection: &mut SqliteConnection) -> i32 {
    let ask = diesel::dsl::sql::<Integer>("PRAGMA busy_timeout");
    diesel::RunQueryDsl::get_result(ask, connection).unwrap()
}

/// Diesel's connections wait for no other writer unless told to. Seen to fail without
/// `DieselSession::wait`: the database is locked.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_waits_for_another_writer() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db").display().to_string();
    let mut holder = SqliteConnection::establish(&path).unwrap();
    for blocking in [true, false] {
        let hold = "PRAGMA journal_mode = WAL; BEGIN IMMEDIATE";
        holder.batch_execute(hold).unwrap();
        let path = path.clone();
        let migrating = tokio::spawn(async move {
            if blocking {
                let mut connection = SqliteConnection::establish(&path).unwrap();
                sync::Outbox::migrate(&mut connection).unwrap();
                sync::Outbox::open(&mut connection).unwrap();
                return busy_timeout(&mut connection);
            }
            let mut connection = AsyncSqlite::establish(&path).await.unwrap();
            Outbox::migrate(&mut connection).await.unwrap();
            Outbox::open(&mut connection).await.unwrap();
            connection.spawn_blocking(|inner| Ok(busy_timeout(inner))).await.unwrap()
        });
        // Enough for it to meet the other writer.
        tokio::time::sleep(Duration::from_millis(200)).await;
        holder.batch_execute("COMMIT").unwrap();
        assert_eq!(migrating.await.unwrap(), 0, "it is set as before");
    }
}

/// Seen to fail with neither a time to wait nor trying again. Waiting isn't always enough:
/// switching a new file to write-ahead logging can be refused at once.
#[tokio::test(flavor = "multi_thread")]
async fn several_may_create_one_file() {
    for _ in 0..20 {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("test.db").display().to_string();
        let start = Barrier::new(8);
        let migrate = || {
            let mut connection = SqliteConnection::establish(&path).unwrap();
            start.wait();
            sync::Outbox::migrate(&mut connection).unwrap();
        };
        std::thread::scope(|scope| (0..8).for_each(|_| drop(scope.spawn(migrate))));
    }
}

const WRITER: &str = "OUTBOX_TEST_SQLITE_WRITER";

/// FAILURES row 34. Seen to fail with `BEGIN` instead of `BEGIN IMMEDIATE` in either wrapper: the
/// transaction that has read can't write, and is told at once that the database is busy, whatever
/// the busy time-out.
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_writes_all_the_time() {
    let bed = support::sqlite().await;
    let mut writer = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "sqlite::second_process", "--nocapture"])
        .env(WRITER, &bed.url)
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let (mut connection, mut blocking, outbox) =
        (bed.connect().await, bed.block(), bed.sync_outbox());
    // Reading first is what makes a deferred transaction fail when it writes.
    let read = "SELECT count(*) FROM outbox";
    let (owner, until) = (relay(), Instant::now() + Duration::from_secs(2));
    let (mut delivered, mut own) = (0, 0);
    while Instant::now() < until {
        let work = async |mut tx: OutboxTransaction<'_, AsyncSqlite>| {
            tx.batch_execute(read).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
            tx.emit(message("own"))
        };
        bed.outbox.transaction(&mut connection, work).await.unwrap();
        let done = outbox.transaction(&mut blocking, |mut tx| {
            tx.batch_execute(read).unwrap();
            support::sleep(Duration::from_millis(2));
            tx.emit(message("own"))
        });
        done.unwrap();
        own += 2;
        bed.store.lease(&lease_request(owner, &[0, 1, 2, 3])).await.unwrap();
        let rows = bed.all().await;
        delivered += rows.len();
        bed.deliver(&rows).await;
    }
    assert!(writer.wait().unwrap().success());
    delivered += bed.all().await.len();
    assert!(delivered > own, "the other process wrote {} messages", delivered - own);
}

/// The other process of [`a_second_process_writes_all_the_time`]; by itself it has nothing to do.
#[test]
fn second_process() {
    let Ok(path) = std::env::var(WRITER) else { return };
    let mut connection = SqliteConnection::establish(&path).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 20000").unwrap();
    let outbox = sync::Outbox::open(&mut connection).unwrap();
    let until = Instant::now() + Duration::from_millis(1500);
    while Instant::now() < until {
        outbox.transaction(&mut connection, |mut tx| tx.emit(message("other"))).unwrap();
        // A writer that never pauses starves the others: SQLite's waiting is not fair.
        support::sleep(Duration::from_micros(500));
    }
}
