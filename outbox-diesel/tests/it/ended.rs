//! Transactions that the database has ended by itself.

use diesel::Connection as _;
use diesel::connection::SimpleConnection as _;
use diesel_async::{AsyncConnection as _, AsyncMysqlConnection, SimpleAsyncConnection as _};
use outbox_diesel::{Dialect, Error, OutboxTransaction, Receipt, sync};

use crate::support::{AsyncSqlite, Bed, Kind, for_every_database, mariadb, message, sqlite};

for_every_database!(
    what_has_ended_does_not_commit_without_a_message,
    what_has_ended_does_not_commit_without_a_message_in_sync,
    what_was_ended_by_hand_stores_no_message,
);

const INSERT: &str = "INSERT OR ROLLBACK INTO orders VALUES (1)";

async fn orders() -> Bed<AsyncSqlite> {
    let bed = sqlite().await;
    bed.execute(
        "CREATE TABLE orders (id INTEGER PRIMARY KEY) STRICT; INSERT INTO orders VALUES (1)",
    )
    .await;
    bed
}

/// Seen to fail when the depth was not compared: it was told as a call outside of a transaction.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_sqlite_has_ended_stores_no_message() {
    let bed = orders().await;
    let mut connection = bed.connect().await;
    for nested in [false, true] {
        let ended = bed.outbox.transaction(&mut connection, async |mut tx| {
            tx.emit(message("a"))?;
            if nested {
                let inner = bed.outbox.transaction(&mut *tx, async |mut tx| {
                    tx.batch_execute(INSERT).await.unwrap_err();
                    bed.outbox.enqueue(&mut *tx, message("b")).await
                });
                return inner.await;
            }
            tx.batch_execute(INSERT).await.unwrap_err();
            Ok::<_, Error>(())
        });
        let error = ended.await.unwrap_err();
        // Diesel heard of its end, and says so where it is asked in the middle.
        assert_eq!(nested, matches!(error, Error::NoTransaction), "{error:?}");
        assert_eq!(nested, !matches!(error, Error::TransactionEnded), "{error:?}");
        let work = async |mut tx: OutboxTransaction<'_, AsyncSqlite>| tx.emit(message("kept"));
        bed.outbox.transaction(&mut connection, work).await.unwrap();
    }
    assert_eq!(bed.keys().await, ["kept", "kept"], "the connection is as good as before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_that_sqlite_has_ended_stores_no_message_in_sync() {
    let bed = orders().await;
    let (mut connection, outbox) = (bed.block(), bed.sync_outbox());
    for nested in [false, true] {
        let ended = outbox.transaction(&mut connection, |mut tx| {
            tx.emit(message("a"))?;
            if nested {
                return outbox.transaction(&mut *tx, |mut tx| {
                    tx.batch_execute(INSERT).unwrap_err();
                    outbox.enqueue(&mut *tx, message("b"))
                });
            }
            tx.batch_execute(INSERT).unwrap_err();
            Ok::<_, Error>(())
        });
        let error = ended.unwrap_err();
        assert_eq!(nested, matches!(error, Error::NoTransaction), "{error:?}");
        assert_eq!(nested, !matches!(error, Error::TransactionEnded), "{error:?}");
        outbox.transaction(&mut connection, |mut tx| tx.emit(message("kept"))).unwrap();
    }
    assert_eq!(bed.keys().await, ["kept", "kept"], "the connection is as good as before");
}

/// Ends the transaction by a prepared statement, of which Diesel doesn't hear, and goes on as a
/// service does that only logs errors.
async fn swallow(bed: &Bed<AsyncSqlite>, connection: &mut AsyncSqlite, accepts: bool) {
    let insert = diesel::sql_query(INSERT);
    diesel_async::RunQueryDsl::execute(insert, connection).await.unwrap_err();
    for again in [false, true] {
        let error = if accepts {
            let inbox = bed.outbox.inbox();
            inbox.accept(connection, "billing", "7").await.map(|_| ()).unwrap_err()
        } else {
            bed.outbox.enqueue(connection, message("b")).await.unwrap_err()
        };
        assert_eq!(again, matches!(error, Error::NoTransaction), "{error:?}");
        assert_eq!(!again, matches!(error, Error::TransactionEnded), "{error:?}");
    }
}

/// Seen to fail when the probe left a transaction open for Diesel to roll back: the next look found
/// that one, `a` was stored, and the order was gone.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_swallowed_stays_one() {
    let bed = orders().await;
    let mut connection = bed.connect().await;
    for (nested, accepts) in [(false, false), (false, true), (true, false), (true, true)] {
        let ended = bed.outbox.transaction(&mut connection, async |mut tx| {
            tx.batch_execute("INSERT INTO orders VALUES (2)").await.unwrap();
            tx.emit(message("a"))?;
            if nested {
                let inner = bed.outbox.transaction(&mut *tx, async |mut tx| {
                    swallow(&bed, &mut tx, accepts).await;
                    Ok::<_, Error>(())
                });
                let error = inner.await.unwrap_err();
                assert!(matches!(error, Error::TransactionEnded), "{error:?}");
            } else {
                swallow(&bed, &mut tx, accepts).await;
            }
            Ok::<_, Error>(())
        });
        let error = ended.await.unwrap_err();
        assert!(matches!(error, Error::TransactionEnded), "{error:?}");
        let own = connection.transaction(async |connection| {
            swallow(&bed, connection, accepts).await;
            Ok::<_, diesel::result::Error>(())
        });
        own.await.unwrap_err();
        let work = async |mut tx: OutboxTransaction<'_, AsyncSqlite>| tx.emit(message("kept"));
        bed.outbox.transaction(&mut connection, work).await.unwrap();
    }
    assert_eq!(bed.keys().await, ["kept"; 4]);
    assert_eq!(bed.count("outbox_inbox").await, 0);
}

/// Seen to fail as its asynchronous twin.
#[tokio::test(flavor = "multi_thread")]
async fn an_end_that_was_swallowed_stays_one_in_sync() {
    let bed = orders().await;
    let (mut connection, outbox) = (bed.block(), bed.sync_outbox());
    let swallow = |connection: &mut diesel::SqliteConnection| {
        diesel::RunQueryDsl::execute(diesel::sql_query(INSERT), connection).unwrap_err();
        let error = outbox.enqueue(connection, message("b")).unwrap_err();
        assert!(matches!(error, Error::TransactionEnded), "{error:?}");
    };
    for nested in [false, true] {
        let ended = outbox.transaction(&mut connection, |mut tx| {
            tx.batch_execute("INSERT INTO orders VALUES (2)").unwrap();
            tx.emit(message("a"))?;
            if nested {
                let inner = outbox.transaction(&mut *tx, |mut tx| {
                    swallow(&mut tx);
                    Ok::<_, Error>(())
                });
                assert!(matches!(inner.unwrap_err(), Error::TransactionEnded));
            } else {
                swallow(&mut tx);
            }
            Ok::<_, Error>(())
        });
        let error = ended.unwrap_err();
        assert!(matches!(error, Error::TransactionEnded), "{error:?}");
        let own = connection.transaction(|connection| {
            swallow(connection);
            Ok::<_, diesel::result::Error>(())
        });
        own.unwrap_err();
        outbox.transaction(&mut connection, |mut tx| tx.emit(message("kept"))).unwrap();
    }
    assert_eq!(bed.keys().await, ["kept", "kept"]);
}

/// A deferred constraint refuses the commit itself, and SQLite keeps the transaction open.
#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_sqlite_refuses_leaves_the_connection_usable() {
    let bed = orders().await;
    let (setup, bad) = (
        "CREATE TABLE items (id INTEGER PRIMARY KEY, \
         order_id INTEGER REFERENCES orders DEFERRABLE INITIALLY DEFERRED) STRICT",
        "INSERT INTO items VALUES (1, 77)",
    );
    bed.execute(setup).await;
    let mut connection = bed.connect().await;
    connection.batch_execute("PRAGMA foreign_keys = ON").await.unwrap();
    let refused = bed.outbox.transaction(&mut connection, async |mut tx| {
        tx.batch_execute(bad).await.unwrap();
        tx.emit(message("refused"))
    });
    let error = refused.await.unwrap_err();
    assert!(matches!(error, Error::Database { context: "committing", .. }), "{error:?}");
    let work = async |mut tx: OutboxTransaction<'_, AsyncSqlite>| tx.emit(message("async"));
    bed.outbox.transaction(&mut connection, work).await.unwrap();

    let (mut connection, outbox) = (bed.block(), bed.sync_outbox());
    connection.batch_execute("PRAGMA foreign_keys = ON").unwrap();
    let refused = outbox.transaction(&mut connection, |mut tx| {
        tx.batch_execute(bad).unwrap();
        tx.emit(message("refused"))
    });
    assert!(matches!(refused.unwrap_err(), Error::Database { context: "committing", .. }));
    outbox.transaction(&mut connection, |mut tx| tx.emit(message("sync"))).unwrap();
    assert_eq!(bed.keys().await, ["async", "sync"]);
}

/// MariaDB commits before data definition. Seen to fail without asking the server for its code.
#[tokio::test(flavor = "multi_thread")]
async fn after_data_definition_no_message_is_stored() {
    let bed = mariadb().await;
    let define = format!("CREATE TABLE {} (id INT)", bed.named("defined"));
    let mut connection = bed.connect().await;
    let ended = bed.outbox.transaction(&mut connection, async |mut tx| {
        tx.emit(message("a"))?;
        tx.batch_execute(&define).await.unwrap();
        Ok::<_, Error>(())
    });
    let error = ended.await.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded), "{error:?}");
    let outbox: sync::Outbox<diesel::mysql::Mysql> = bed.sync_outbox();
    let ended = outbox.transaction(&mut bed.block(), |mut tx| {
        tx.batch_execute(&define.replace("defined", "again")).unwrap();
        outbox.enqueue(&mut *tx, message("a"))
    });
    let error = ended.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded), "{error:?}");
    assert!(bed.keys().await.is_empty());
}

/// What a service runs, in whose middle the database ends the transaction; none of it but the last
/// statement is refused. On MariaDB, `holder` runs the other half of a deadlock.
struct Ending {
    setup: String,
    holder: [String; 2],
    statements: Vec<String>,
}

impl Ending {
    fn of<C: Kind>(bed: &Bed<C>) -> Self {
        let table = bed.named("orders");
        let setup = format!("CREATE TABLE {table} (id INT PRIMARY KEY, n INT)");
        let none = || "SELECT 1".to_owned();
        let update = |id| format!("UPDATE {table} SET n = n + 1 WHERE id = {id}");
        match bed.outbox.dialect() {
            Dialect::Postgres => {
                let statements = vec!["SELECT 1 / 0".to_owned()];
                Self { setup, holder: [none(), none()], statements }
            }
            Dialect::Sqlite => {
                let insert = format!("INSERT OR ROLLBACK INTO {table} VALUES (1, 0)");
                Self { setup, holder: [none(), none()], statements: vec![insert.clone(), insert] }
            }
            Dialect::MySql => {
                // MariaDB ends the one that has changed less.
                let ballast: Vec<_> = (3..300).map(|id| format!("({id}, 0)")).collect();
                let rows = format!("INSERT INTO {table} VALUES (1, 0), (2, 0)");
                let ballast = format!("INSERT INTO {table} VALUES {}", ballast.join(", "));
                Self {
                    setup: format!("{setup}; {rows}"),
                    holder: [format!("BEGIN; {ballast}; {}", update(2)), update(1)],
                    statements: vec![update(1), update(2)],
                }
            }
        }
    }
}

fn assert_ended(dialect: Dialect, error: &Error) {
    match dialect {
        // It has failed, and would be rolled back by the commit.
        Dialect::Postgres => assert!(matches!(error, Error::Database { .. }), "{error:?}"),
        _ => assert!(matches!(error, Error::TransactionEnded), "{error:?}"),
    }
    assert!(!error.is_retryable());
}

/// A consumer that emits nothing and swallows an error: its broker would be told that the message
/// was received. Seen to fail on PostgreSQL and MariaDB when, with nothing emitted, nobody was
/// asked: both answer the commit without an error.
async fn what_has_ended_does_not_commit_without_a_message<C: Kind>(bed: Bed<C>) {
    let (ending, inbox) = (Ending::of(&bed), bed.outbox.inbox());
    bed.execute(&ending.setup).await;
    let (mut connection, mut holder) = (bed.connect().await, bed.connect().await);
    holder.batch_execute(&ending.holder[0]).await.unwrap();
    let ended = bed.outbox.transaction(&mut connection, async |mut tx| {
        assert_eq!(inbox.accept(&mut *tx, "billing", "7").await?, Receipt::First);
        let (last, first) = ending.statements.split_last().unwrap();
        for statement in first {
            tx.batch_execute(statement).await.unwrap();
        }
        let last = diesel_async::RunQueryDsl::execute(diesel::sql_query(last), &mut *tx);
        let both = tokio::join!(holder.batch_execute(&ending.holder[1]), last);
        assert!(both.0.is_ok() && both.1.is_err(), "{both:?}");
        Ok::<_, Error>(())
    });
    assert_ended(bed.outbox.dialect(), &ended.await.unwrap_err());
    let again = bed
        .outbox
        .transaction(&mut connection, async |mut tx| inbox.accept(&mut *tx, "billing", "7").await);
    assert_eq!(again.await.unwrap(), Receipt::First);
}

/// Seen to fail as its asynchronous twin.
async fn what_has_ended_does_not_commit_without_a_message_in_sync<C: Kind>(bed: Bed<C>) {
    let (ending, outbox) = (Ending::of(&bed), bed.sync_outbox());
    bed.execute(&ending.setup).await;
    let (mut connection, mut holder, inbox) = (bed.block(), bed.connect().await, outbox.inbox());
    holder.batch_execute(&ending.holder[0]).await.unwrap();
    let half = ending.holder[1].clone();
    let ended = outbox.transaction(&mut connection, |mut tx| {
        assert_eq!(inbox.accept(&mut *tx, "billing", "7")?, Receipt::First);
        let (last, first) = ending.statements.split_last().unwrap();
        for statement in first {
            tx.batch_execute(statement).unwrap();
        }
        let holding = tokio::spawn(async move { holder.batch_execute(&half).await });
        diesel::RunQueryDsl::execute(diesel::sql_query(last), &mut *tx).unwrap_err();
        Ok::<_, Error>(holding)
    });
    assert_ended(outbox.dialect(), &ended.unwrap_err());
    let again =
        outbox.transaction(&mut connection, |mut tx| inbox.accept(&mut *tx, "billing", "7"));
    assert_eq!(again.unwrap(), Receipt::First);
}

/// A script with a `COMMIT` or `ROLLBACK` of its own. Seen to fail on PostgreSQL without
/// `HAS_WRITTEN`: each message was stored by itself, though the order may be gone.
async fn what_was_ended_by_hand_stores_no_message<C: Kind>(bed: Bed<C>) {
    let table = bed.named("orders");
    bed.execute(&format!("CREATE TABLE {table} (id INT)")).await;
    let insert = format!("INSERT INTO {table} VALUES (1)");
    let mut connection = bed.connect().await;
    for (end, count) in [("ROLLBACK", 1), ("ROLLBACK", 2), ("COMMIT", 1), ("COMMIT", 2)] {
        let ended = bed.outbox.transaction(&mut connection, async |mut tx| {
            tx.batch_execute(&insert).await.unwrap();
            (0..count).try_for_each(|_| tx.emit(message("a")))?;
            tx.batch_execute(end).await.unwrap();
            Ok::<_, Error>(())
        });
        let error = ended.await.unwrap_err();
        assert!(matches!(error, Error::TransactionEnded), "{error:?}");
        // Nothing but the message is written in it.
        let work = async |mut tx: OutboxTransaction<'_, C>| tx.emit(message("kept"));
        bed.outbox.transaction(&mut connection, work).await.unwrap();
    }
    assert_eq!(bed.keys().await, ["kept"; 4]);
}

/// Seen to fail with diesel-async on MariaDB when a savepoint that couldn't be rolled back broke
/// the connection: no transaction could begin on it ever again.
#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_in_a_nested_transaction_leaves_the_connection_usable() {
    let bed = mariadb().await;
    let ending = Ending::of(&bed);
    bed.execute(&ending.setup).await;
    let (mut connection, mut holder) = (bed.connect().await, bed.connect().await);
    holder.batch_execute(&ending.holder[0]).await.unwrap();
    let ended = bed.outbox.transaction(&mut connection, async |mut tx| {
        tx.emit(message("a"))?;
        let inner = bed.outbox.transaction(&mut *tx, async |mut tx| {
            tx.batch_execute(&ending.statements[0]).await.unwrap();
            let last = tx.batch_execute(&ending.statements[1]);
            let both = tokio::join!(holder.batch_execute(&ending.holder[1]), last);
            assert!(both.0.is_ok() && both.1.is_err(), "{both:?}");
            Err::<(), _>(Error::NoTransaction)
        });
        // A service that goes on as if nothing had happened.
        inner.await.unwrap_err();
        Ok::<_, Error>(())
    });
    let error = ended.await.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded), "{error:?}");
    let work = async |mut tx: OutboxTransaction<'_, AsyncMysqlConnection>| tx.emit(message("kept"));
    bed.outbox.transaction(&mut connection, work).await.unwrap();
    assert_eq!(bed.keys().await, ["kept"]);
}
