//! Transactions that the database has ended, or will not commit.

use outbox_sqlx::{Error, Receipt};
use sqlx::{Connection as _, Sqlite};

use crate::support::{self, Bed, Kind, behind_proxy, for_every_database, keys, message};

for_every_database!(what_was_ended_by_hand_stores_no_message);

/// A script with a `COMMIT` or `ROLLBACK` of its own. Seen to fail on PostgreSQL without
/// `HAS_WRITTEN`: each message was stored by itself, though the order may be gone.
async fn what_was_ended_by_hand_stores_no_message<DB: Kind>(bed: Bed<DB>) {
    let table = bed.beside("orders");
    bed.execute(format!("CREATE TABLE {table} (id INT)")).await;
    for (end, count) in [("ROLLBACK", 1), ("ROLLBACK", 2), ("COMMIT", 1), ("COMMIT", 2)] {
        let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
        DB::raw(&mut tx, &format!("INSERT INTO {table} VALUES (1)")).await;
        (0..count).for_each(|_| tx.emit(message("a")).unwrap());
        DB::raw(&mut tx, end).await;
        let error = bed.outbox.enqueue(&mut tx, message("b")).await.unwrap_err();
        assert!(matches!(error, Error::TransactionEnded), "{error:?}");
        let error = tx.commit().await.unwrap_err();
        assert!(matches!(error, Error::TransactionEnded), "{error:?}");
        // Nothing but the message is written in it.
        bed.enqueue(&["kept"]).await;
    }
    assert_eq!(keys(&bed.all().await), ["kept"; 4]);
}

/// Seen to fail without the probe: the message is stored, the change that it tells of is not.
#[tokio::test]
async fn a_transaction_that_sqlite_has_ended_stores_no_message() {
    let bed = support::sqlite().await;
    bed.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY) STRICT".to_owned()).await;
    let insert = "INSERT OR ROLLBACK INTO orders VALUES (1)";
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    sqlx::query(insert).execute(&mut *tx).await.unwrap();
    tx.emit(message("a")).unwrap();
    sqlx::query(insert).execute(&mut *tx).await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded), "{error:?}");
    assert_eq!(bed.count("").await, 0);
    bed.enqueue(&["b"]).await;
    assert_eq!(keys(&bed.all().await), ["b"], "the pool's connections are as good as before");
}

/// Seen to fail without the probe: the receipt stays, and what the message asked for was not done.
#[tokio::test]
async fn a_transaction_that_sqlite_has_ended_receives_nothing() {
    let bed = support::sqlite().await;
    bed.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY) STRICT".to_owned()).await;
    let insert = "INSERT OR ROLLBACK INTO orders VALUES (1), (1)";
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    sqlx::query(insert).execute(&mut *tx).await.unwrap_err();
    let error = bed.outbox.inbox().accept(&mut tx, "billing", "7").await.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded), "{error:?}");
    drop(tx);
    assert_eq!(bed.count("_inbox").await, 0);
}

/// Seen to fail when what the probe begins was left as it is: what is committed next on the same
/// connection was lost.
#[tokio::test]
async fn after_an_ended_transaction_the_connection_is_as_before() {
    let bed = support::sqlite().await;
    bed.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY) STRICT".to_owned()).await;
    let options = (*bed.pool().connect_options()).clone();
    let one =
        sqlx::pool::PoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let run = async |connection: &mut sqlx::SqliteConnection, id: i64| {
        let insert = format!("INSERT OR ROLLBACK INTO orders VALUES ({id})");
        sqlx::raw_sql(sqlx::AssertSqlSafe(insert)).execute(connection).await.map(|_| ())
    };
    let commit = async |id: i64| {
        let mut tx: sqlx::Transaction<'_, Sqlite> = one.begin().await.unwrap();
        run(&mut tx, id).await.unwrap();
        bed.outbox.enqueue(&mut tx, &message("kept")).await.unwrap();
        tx.commit().await.unwrap();
    };
    {
        let mut tx = one.begin().await.unwrap();
        run(&mut tx, 1).await.unwrap();
        let mut inner = tx.begin().await.unwrap();
        let mut innermost = inner.begin().await.unwrap();
        run(&mut innermost, 1).await.unwrap_err();
        let error = bed.outbox.enqueue(&mut innermost, &message("a")).await.unwrap_err();
        assert!(matches!(error, Error::TransactionEnded), "{error:?}");
    }
    commit(10).await;
    {
        let mut connection = one.acquire().await.unwrap();
        let messages = [message("a")];
        let none = bed.outbox.enqueue_in_raw_transaction(&mut connection, &messages).await;
        assert!(matches!(none.unwrap_err(), Error::TransactionEnded));
    }
    commit(11).await;
    let mut connection = one.acquire().await.unwrap();
    run(&mut connection, 12).await.unwrap();
    let seen = "SELECT count(*) FROM orders WHERE id IN (10, 11, 12)".to_owned();
    assert_eq!(Sqlite::number(bed.pool(), seen).await, 3, "another connection sees them");
    assert_eq!(keys(&bed.all().await), ["kept", "kept"]);
}

/// Seen to fail without the probe.
#[tokio::test(flavor = "multi_thread")]
async fn the_victim_of_a_deadlock_stores_no_message() {
    let bed = support::mariadb().await;
    let schema = bed.place.names.schema.as_ref().unwrap();
    let orders = format!("`{schema}`.orders");
    bed.execute(format!("CREATE TABLE {orders} (id INT PRIMARY KEY, total INT) ENGINE=InnoDB"))
        .await;
    bed.execute(format!("INSERT INTO {orders} VALUES (1, 0), (2, 0)")).await;
    let update = |id| format!("UPDATE {orders} SET total = total + 1 WHERE id = {id}");
    let run = async |tx: &mut sqlx::MySqlConnection, id| {
        sqlx::raw_sql(sqlx::AssertSqlSafe(update(id))).execute(tx).await.map(|_| ())
    };
    let mut one = bed.outbox.begin(bed.pool()).await.unwrap();
    let mut two = bed.outbox.begin(bed.pool()).await.unwrap();
    one.emit(message("one")).unwrap();
    two.emit(message("two")).unwrap();
    run(&mut one, 1).await.unwrap();
    run(&mut two, 2).await.unwrap();
    let (first, second) = tokio::join!(run(&mut one, 2), run(&mut two, 1));
    assert!(first.is_err() != second.is_err(), "one of them is the victim");
    let mut stored = Vec::new();
    for (tx, result, key) in [(one, first, "one"), (two, second, "two")] {
        // A service that goes on as if nothing had happened.
        match tx.commit().await {
            Ok(()) => stored.push(key),
            Err(error) => {
                assert!(matches!(error, Error::TransactionEnded), "{error:?}");
                assert!(result.is_err());
            }
        }
    }
    assert_eq!(keys(&bed.all().await), stored);
    assert_eq!(stored.len(), 1);
}

/// FAILURES row 62. Seen to fail when a commit with nothing emitted asked nobody: PostgreSQL answers
/// it by rolling back, without an error. The broker would have been told that the message was
/// received.
#[tokio::test]
async fn a_failed_transaction_in_which_nothing_was_emitted_does_not_commit() {
    let bed = support::postgres().await;
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    let receipt = bed.outbox.inbox().accept(&mut tx, "billing", "7").await.unwrap();
    assert_eq!(receipt, Receipt::First);
    // A service that goes on as if nothing had happened.
    sqlx::query("SELECT 1 / 0").execute(&mut *tx).await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::Database { .. }) && !error.is_retryable(), "{error:?}");
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    let receipt = bed.outbox.inbox().accept(&mut tx, "billing", "7").await.unwrap();
    assert_eq!(receipt, Receipt::First);
    tx.commit().await.unwrap();
}

/// The same where data definition has committed. Seen to fail in the same way.
#[tokio::test]
async fn a_transaction_that_mariadb_has_ended_does_not_commit() {
    let bed = support::mariadb().await;
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    let create = format!("CREATE TABLE {} (n INT)", bed.table("_other"));
    sqlx::raw_sql(sqlx::AssertSqlSafe(create)).execute(&mut *tx).await.unwrap();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded), "{error:?}");
}

/// Seen to fail when `begin` took what the pool gave: no transaction could begin on that connection
/// ever again.
#[tokio::test]
async fn a_transaction_that_sqlite_has_ended_leaves_the_pool_usable() {
    let bed = support::sqlite().await;
    bed.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY) STRICT".to_owned()).await;
    let options = (*bed.pool().connect_options()).clone();
    let one =
        sqlx::pool::PoolOptions::new().max_connections(1).connect_with(options).await.unwrap();
    let insert = "INSERT OR ROLLBACK INTO orders VALUES (1)";
    for commits in [false, true] {
        let mut tx = bed.outbox.begin(&one).await.unwrap();
        sqlx::query("INSERT OR REPLACE INTO orders VALUES (1)").execute(&mut *tx).await.unwrap();
        sqlx::query(insert).execute(&mut *tx).await.unwrap_err();
        if commits {
            assert!(matches!(tx.commit().await.unwrap_err(), Error::TransactionEnded));
        } else {
            drop(tx);
        }
        let mut tx = bed.outbox.begin(&one).await.unwrap();
        tx.emit(message("next")).unwrap();
        tx.commit().await.unwrap();
    }
    assert_eq!(keys(&bed.all().await), ["next", "next"], "another connection sees them");
}

async fn cut_in_the_commit<DB: Kind>(bed: &Bed<DB>) -> Error {
    let (proxy, url) = behind_proxy(&bed.place.url);
    let pool = sqlx::Pool::connect(&url).await.unwrap();
    let mut tx = bed.outbox.begin(&pool).await.unwrap();
    tx.emit(message("a")).unwrap();
    proxy.cut_at(b"COMMIT");
    tx.commit().await.unwrap_err()
}

/// Seen to fail when a commit that broke could be retried like any other error: the order was there
/// twice.
#[tokio::test]
async fn a_commit_that_nobody_answered_is_unknown() {
    for error in [
        cut_in_the_commit(&support::postgres().await).await,
        cut_in_the_commit(&support::newest_postgres().await).await,
        cut_in_the_commit(&support::mariadb().await).await,
    ] {
        assert!(matches!(error, Error::CommitUnknown(_)) && !error.is_retryable(), "{error:?}");
    }
    let conflict = outbox_sql::DriverError::database(outbox_sql::Dialect::Postgres, "40001", "");
    assert!(Error::committing(conflict).is_retryable());
}
