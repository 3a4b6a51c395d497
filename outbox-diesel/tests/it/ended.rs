//! Transactions that the database has ended by itself.

use diesel::connection::SimpleConnection as _;
use diesel_async::SimpleAsyncConnection as _;
use outbox_diesel::{Error, OutboxTransaction, sync};

use crate::support::{AsyncSqlite, Bed, mariadb, message, sqlite};

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
    assert!(matches!(ended.await.unwrap_err(), Error::TransactionEnded));
    let outbox: sync::Outbox<diesel::mysql::Mysql> = bed.sync_outbox();
    let ended = outbox.transaction(&mut bed.block(), |mut tx| {
        tx.batch_execute(&define.replace("defined", "again")).unwrap();
        outbox.enqueue(&mut *tx, message("a"))
    });
    let error = ended.unwrap_err();
    assert!(matches!(error, Error::TransactionEnded), "{error:?}");
    assert!(bed.keys().await.is_empty());
}
