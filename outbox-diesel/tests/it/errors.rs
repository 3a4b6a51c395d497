//! What Diesel's errors are taken for: it keeps the databases' own codes to itself.

use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use outbox_diesel::{DieselDriver, DieselSession};
use outbox_sql::{Driver as _, DriverError, DriverErrorKind, Probe, Session as _, Statement};

use crate::support::{Bed, Kind, for_every_database, mariadb, postgres, sqlite};

for_every_database!(the_probe_knows_whether_a_transaction_is_open);

async fn session<C: Kind>(bed: &Bed<C>) -> DieselSession<C> {
    bed.driver().connect().await.unwrap()
}

fn statement(text: &str) -> Statement {
    Statement { text: text.to_owned(), binds: vec![], columns: &[], cached: false }
}

fn assert_is(error: &DriverError, kind: DriverErrorKind, code: &str) {
    assert_eq!((error.kind(), error.code()), (kind, Some(code)), "{error:?}");
}

/// Seen to fail on MariaDB without asking the server for its code, and on SQLite without the
/// wording of code 1.
async fn the_probe_knows_whether_a_transaction_is_open<C: Kind>(bed: Bed<C>) {
    let probe = Probe::of(bed.outbox.dialect());
    let mut session = session(&bed).await;
    session.run("BEGIN").await.unwrap();
    let answer = session.run(probe.text).await;
    assert!(probe.is_open(answer).unwrap());
    session.run("ROLLBACK").await.unwrap();
    let answer = session.run(probe.text).await;
    assert!(!probe.is_open(answer).unwrap());
}

/// Two sessions that change two rows each, in opposite orders; the error of the victim.
async fn deadlock<C: Kind>(bed: &Bed<C>) -> DriverError {
    let table = bed.named("rows");
    bed.execute(&format!("CREATE TABLE {table} (id INT PRIMARY KEY, n INT)")).await;
    bed.execute(&format!("INSERT INTO {table} VALUES (1, 0), (2, 0)")).await;
    let (mut one, mut two) = (session(bed).await, session(bed).await);
    let update = |id| statement(&format!("UPDATE {table} SET n = n + 1 WHERE id = {id}"));
    for (session, id) in [(&mut one, 1), (&mut two, 2)] {
        session.run("BEGIN").await.unwrap();
        session.execute(&update(id)).await.unwrap();
    }
    let (first, second) = (update(2), update(1));
    let both = tokio::join!(one.execute(&first), two.execute(&second));
    match both {
        (Err(error), Ok(_)) | (Ok(_), Err(error)) => error,
        both => panic!("one of them is the victim: {both:?}"),
    }
}

/// Seen to fail without its wording.
#[tokio::test]
async fn a_deadlock_is_a_conflict_on_postgres() {
    assert_is(&deadlock(&postgres().await).await, DriverErrorKind::Conflict, "40P01");
}

/// Seen to fail without asking the server for its code.
#[tokio::test]
async fn a_deadlock_is_a_conflict_on_mariadb() {
    assert_is(&deadlock(&mariadb().await).await, DriverErrorKind::Conflict, "1213");
}

/// FAILURES row 33. Seen to fail without the kind in `Backend::code`.
#[tokio::test]
async fn a_serialization_failure_is_a_conflict() {
    let bed = postgres().await;
    let (mut one, mut two) = (session(&bed).await, session(&bed).await);
    let table = bed.table("_partition");
    let update = statement(&format!("UPDATE {table} SET generation = 1 WHERE partition_no = 0"));
    one.run("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    one.execute(&statement(&format!("SELECT 1 FROM {table}"))).await.unwrap();
    two.execute(&update).await.unwrap();
    let error = one.execute(&update).await.unwrap_err();
    assert_is(&error, DriverErrorKind::Conflict, "40001");
    let aborted = one.execute(&update).await.unwrap_err();
    assert_is(&aborted, DriverErrorKind::Other, "25P02");
}

#[tokio::test]
async fn a_lock_that_is_not_waited_for_is_a_conflict() {
    let bed = postgres().await;
    let (mut one, mut two) = (session(&bed).await, session(&bed).await);
    let lock = format!("SELECT 1 FROM {} FOR UPDATE", bed.table("_partition"));
    one.run("BEGIN").await.unwrap();
    one.execute(&statement(&lock)).await.unwrap();
    for (before, wait) in [("SELECT 1", " NOWAIT"), ("SET lock_timeout = '10ms'", "")] {
        two.run(before).await.unwrap();
        let error = two.execute(&statement(&format!("{lock}{wait}"))).await.unwrap_err();
        assert_is(&error, DriverErrorKind::Conflict, "55P03");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_stays_locked_is_a_conflict() {
    let bed = mariadb().await;
    let (mut one, mut two) = (session(&bed).await, session(&bed).await);
    let lock = statement(&format!("SELECT 1 FROM {} FOR UPDATE", bed.table("_partition")));
    one.run("BEGIN").await.unwrap();
    one.execute(&lock).await.unwrap();
    two.run("SET innodb_lock_wait_timeout = 1").await.unwrap();
    two.run("BEGIN").await.unwrap();
    assert_is(&two.execute(&lock).await.unwrap_err(), DriverErrorKind::Conflict, "1205");
}

/// Seen to fail without its wording.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_sqlite_is_a_conflict() {
    let bed = sqlite().await;
    let (mut one, mut two) = (session(&bed).await, session(&bed).await);
    one.run("BEGIN IMMEDIATE").await.unwrap();
    let error = two.run("BEGIN IMMEDIATE").await.unwrap_err();
    assert_is(&error, DriverErrorKind::Conflict, "5");
    // A transaction that has read before somebody wrote: SQLITE_BUSY_SNAPSHOT.
    two.run("BEGIN").await.unwrap();
    two.execute(&statement("SELECT 1 FROM outbox_meta")).await.unwrap();
    let update = statement("UPDATE outbox_partition SET generation = 1");
    one.execute(&update).await.unwrap();
    one.run("COMMIT").await.unwrap();
    assert_is(&two.execute(&update).await.unwrap_err(), DriverErrorKind::Conflict, "5");
}

/// A duplicate's message quotes it, on MySQL in the message itself.
#[tokio::test]
async fn a_constraint_is_told_without_the_row() {
    let bed = mariadb().await;
    let table = bed.named("names");
    bed.execute(&format!("CREATE TABLE {table} (name VARCHAR(9) PRIMARY KEY)")).await;
    let mut session = session(&bed).await;
    let insert = statement(&format!("INSERT INTO {table} VALUES ('canary')"));
    session.execute(&insert).await.unwrap();
    let error = session.execute(&insert).await.unwrap_err();
    assert_is(&error, DriverErrorKind::Other, "1062");
    assert!(!format!("{error:?}").contains("canary"), "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_the_server_has_ended_is_told() {
    let bed = postgres().await;
    let mut session = session(&bed).await;
    session.run("SET application_name = 'outbox_diesel_ended'").await.unwrap();
    let kill = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                WHERE application_name = 'outbox_diesel_ended'";
    bed.execute(kill).await;
    let error = session.run("SELECT 1").await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::Connection, "{error:?}");

    let bed = mariadb().await;
    let mut session = self::session(&bed).await;
    let error = session.run("KILL CONNECTION_ID()").await.unwrap_err();
    assert!(matches!(error.kind(), DriverErrorKind::Connection), "{error:?}");
    let error = session.run("SELECT 1").await.unwrap_err();
    assert_eq!(error.kind(), DriverErrorKind::Connection, "{error:?}");
}

async fn refused<C: Kind>(url: &str) -> DriverError {
    DieselDriver::<C>::from_url(url).unwrap().connect().await.unwrap_err()
}

#[tokio::test]
async fn a_server_that_refuses_is_told_apart_from_one_that_is_not_there() {
    let nobody = refused::<AsyncPgConnection>("postgres://u:canary@127.0.0.1:1/d").await;
    let stranger = refused::<AsyncMysqlConnection>("mysql://u:canary@127.0.0.1:1/d").await;
    for error in [nobody, stranger] {
        assert_eq!(error.kind(), DriverErrorKind::Connection, "{error:?}");
        assert!(!format!("{error:?} {error}").contains("canary"), "{error:?}");
    }
    let wrong = |url: &str| url.replace("outbox:outbox@", "outbox:canary@");
    let error = refused::<AsyncMysqlConnection>(&wrong(&mariadb().await.url)).await;
    assert_is(&error, DriverErrorKind::Other, "1045");
    let bed = postgres().await;
    let (server, _) = bed.url.rsplit_once('/').unwrap();
    let database = format!("{server}/nothing_here");
    assert_is(&refused::<AsyncPgConnection>(&database).await, DriverErrorKind::Other, "3D000");
}
