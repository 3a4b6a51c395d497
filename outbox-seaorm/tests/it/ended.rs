//! Transactions that the server has ended by itself, or will not commit.

use outbox_seaorm::{Error, OutboxTransaction, Receipt};
use sea_orm::{ConnectionTrait, DatabaseTransaction, DbErr, TransactionTrait};

use crate::support::{
    self, Bed, behind_proxy, connect, for_every_database, keys, message, number, run,
};

for_every_database!(what_was_ended_by_hand_stores_no_message);

/// A script with a `COMMIT` or `ROLLBACK` of its own. Seen to fail on PostgreSQL without
/// `HAS_WRITTEN`: each message was stored by itself, though the order may be gone.
async fn what_was_ended_by_hand_stores_no_message(bed: Bed) {
    let table = bed.table("_orders");
    bed.execute(&format!("CREATE TABLE {table} (id INT)")).await;
    for (end, count) in [("ROLLBACK", 1), ("ROLLBACK", 2), ("COMMIT", 1), ("COMMIT", 2)] {
        let mut tx = bed.outbox.begin(bed.db()).await.unwrap();
        run(&tx, &format!("INSERT INTO {table} VALUES (1)")).await;
        (0..count).for_each(|_| tx.emit(message("a")).unwrap());
        run(&tx, end).await;
        let error = bed.outbox.enqueue(&tx, message("b")).await.unwrap_err();
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
    bed.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY ON CONFLICT ROLLBACK) STRICT").await;
    let insert = "INSERT INTO orders VALUES (1)";
    let mut tx = bed.outbox.begin(bed.db()).await.unwrap();
    run(&tx, insert).await;
    tx.emit(message("a")).unwrap();
    tx.execute_unprepared(insert).await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded), "{error:?}");
    assert_eq!(bed.count("").await, 0);
    bed.enqueue(&["b"]).await;
    assert_eq!(keys(&bed.all().await), ["b"], "the pool's connections are as good as before");
}

/// Seen to fail when what the probe begins was left as it is, and with other names of savepoints
/// than sqlx's: the transaction that comes next on the same connection can't begin.
#[tokio::test]
async fn after_an_ended_transaction_the_connection_is_as_before() {
    let bed = support::sqlite().await;
    bed.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY ON CONFLICT ROLLBACK) STRICT").await;
    let one = connect(&bed.place.url, 1).await;
    let insert = |id: i64| format!("INSERT INTO orders VALUES ({id})");
    let commit = async |id: i64| {
        let tx = bed.outbox.begin(&one).await.unwrap();
        run(&tx, &insert(id)).await;
        bed.outbox.enqueue(&tx, &message("kept")).await.unwrap();
        tx.commit().await.unwrap();
    };
    {
        let tx = bed.outbox.begin(&one).await.unwrap();
        run(&tx, &insert(1)).await;
        let inner = tx.begin().await.unwrap();
        let innermost = inner.begin().await.unwrap();
        innermost.execute_unprepared(&insert(1)).await.unwrap_err();
        let error = bed.outbox.enqueue(&innermost, &message("a")).await.unwrap_err();
        assert!(matches!(error, Error::TransactionEnded), "{error:?}");
    }
    commit(10).await;
    let none = bed.outbox.enqueue_in_raw_transaction(&one, [message("a")]).await;
    assert!(matches!(none.unwrap_err(), Error::TransactionEnded));
    commit(11).await;
    let seen = "SELECT count(*) FROM orders WHERE id IN (10, 11)";
    assert_eq!(number(bed.db(), seen).await, 2, "another connection sees them");
    assert_eq!(keys(&bed.all().await), ["kept", "kept"]);
}

/// Seen to fail without the probe.
#[tokio::test(flavor = "multi_thread")]
async fn the_victim_of_a_deadlock_stores_no_message() {
    let bed = support::mariadb().await;
    let schema = bed.place.names.schema.as_ref().unwrap();
    let orders = format!("`{schema}`.orders");
    bed.execute(&format!("CREATE TABLE {orders} (id INT PRIMARY KEY, total INT) ENGINE=InnoDB"))
        .await;
    bed.execute(&format!("INSERT INTO {orders} VALUES (1, 0), (2, 0)")).await;
    let update = async |tx: &OutboxTransaction, id| -> Result<(), DbErr> {
        let update = format!("UPDATE {orders} SET total = total + 1 WHERE id = {id}");
        tx.execute_unprepared(&update).await.map(|_| ())
    };
    let mut one = bed.outbox.begin(bed.db()).await.unwrap();
    let mut two = bed.outbox.begin(bed.db()).await.unwrap();
    one.emit(message("one")).unwrap();
    two.emit(message("two")).unwrap();
    update(&one, 1).await.unwrap();
    update(&two, 2).await.unwrap();
    let (first, second) = tokio::join!(update(&one, 2), update(&two, 1));
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

/// Data definition commits the transaction that it stands in. Seen to fail without the probe.
#[tokio::test]
async fn what_mariadb_has_committed_is_told() {
    let bed = support::mariadb().await;
    let mut tx = bed.outbox.begin(bed.db()).await.unwrap();
    tx.emit(message("a")).unwrap();
    let schema = bed.place.names.schema.as_ref().unwrap();
    run(&tx, &format!("CREATE TABLE `{schema}`.orders (id INT PRIMARY KEY)")).await;
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded), "{error:?}");
    assert_eq!(bed.count("").await, 0);
}

/// Seen to fail when a commit with nothing emitted asked nobody: PostgreSQL answers it by rolling
/// back, without an error. The broker would have been told that the message was received.
#[tokio::test]
async fn a_failed_transaction_in_which_nothing_was_emitted_does_not_commit() {
    let bed = support::postgres().await;
    let tx = bed.outbox.begin(bed.db()).await.unwrap();
    let receipt = bed.outbox.inbox().accept(&tx, "billing", "7").await.unwrap();
    assert_eq!(receipt, Receipt::First);
    // A service that goes on as if nothing had happened.
    tx.execute_unprepared("SELECT 1 / 0").await.unwrap_err();
    let error = tx.commit().await.unwrap_err();
    assert!(matches!(error, Error::Database { .. }) && !error.is_retryable(), "{error:?}");
    let tx = bed.outbox.begin(bed.db()).await.unwrap();
    let receipt = bed.outbox.inbox().accept(&tx, "billing", "7").await.unwrap();
    assert_eq!(receipt, Receipt::First);
    tx.commit().await.unwrap();
}

/// Seen to fail when the probe left something to roll back, for which sqlx is too deep in the end:
/// what was committed next was not there.
#[tokio::test]
async fn a_transaction_that_sqlite_has_ended_leaves_the_pool_usable() {
    let bed = support::sqlite().await;
    bed.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY ON CONFLICT ROLLBACK) STRICT").await;
    let one = connect(&bed.place.url, 1).await;
    for commits in [false, true] {
        let tx = bed.outbox.begin(&one).await.unwrap();
        run(&tx, "INSERT OR REPLACE INTO orders VALUES (1)").await;
        tx.execute_unprepared("INSERT INTO orders VALUES (1)").await.unwrap_err();
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

/// FAILURES row 34. Seen to fail when `begin` took what SeaORM gave, a savepoint: others could
/// write. When it was rolled back nobody else could any more, and the next commit wrote nothing.
#[tokio::test(flavor = "multi_thread")]
async fn after_an_ended_transaction_one_begins_that_writes() {
    let bed = support::sqlite().await;
    bed.execute("CREATE TABLE orders (id INTEGER PRIMARY KEY ON CONFLICT ROLLBACK) STRICT").await;
    bed.execute("INSERT INTO orders VALUES (1)").await;
    for depth in 0..3 {
        let one = connect(&bed.place.url, 1).await;
        {
            let tx = bed.outbox.begin(&one).await.unwrap();
            let mut nested = Vec::new();
            for _ in 0..depth {
                let outer: &DatabaseTransaction = nested.last().unwrap_or(&tx);
                nested.push(outer.begin().await.unwrap());
            }
            tx.execute_unprepared("INSERT INTO orders VALUES (1)").await.unwrap_err();
        }
        let tx = bed.outbox.begin(&one).await.unwrap();
        let other = connect(&bed.place.url, 1).await;
        run(&other, "PRAGMA busy_timeout = 0").await;
        other.execute_unprepared("INSERT INTO orders VALUES (2)").await.unwrap_err();
        tx.rollback().await.unwrap();
        let mut tx = bed.outbox.begin(&one).await.unwrap();
        tx.emit(message("next")).unwrap();
        tx.commit().await.unwrap();
        let seen = bed.count("").await;
        assert_eq!(seen, i64::from(depth) + 1, "another connection sees them");
    }
}

async fn cut_in_the_commit(bed: &Bed) -> Error {
    let (proxy, url) = behind_proxy(&bed.place.url);
    let db = connect(&url, 1).await;
    let mut tx = bed.outbox.begin(&db).await.unwrap();
    tx.emit(message("a")).unwrap();
    proxy.cut_at(b"COMMIT");
    tx.commit().await.unwrap_err()
}

/// The connection breaks when the server has the `COMMIT`.
#[tokio::test]
async fn a_commit_that_nobody_answered_is_unknown() {
    for error in [
        cut_in_the_commit(&support::postgres().await).await,
        cut_in_the_commit(&support::newest_postgres().await).await,
        cut_in_the_commit(&support::mariadb().await).await,
    ] {
        assert!(matches!(error, Error::CommitUnknown(_)) && !error.is_retryable(), "{error:?}");
    }
}
