//! A transaction that writes its messages and wakes the relay when it commits.

use std::fmt;
use std::ops::{Deref, DerefMut};

use outbox_core::{IntoMessage, Message};
use outbox_sql::DriverError;
use sqlx::pool::PoolConnection;
use sqlx::{Connection as _, Pool, SqlSafeStr, Transaction};

use crate::{Database, Error, Outbox, to_its_end};

/// A transaction of sqlx's with an outbox. It dereferences to the connection: `&mut *tx` executes
/// queries in it.
///
/// Dropping it rolls back, and no message is stored.
pub struct OutboxTransaction<'c, DB: Database> {
    transaction: Transaction<'c, DB>,
    outbox: Outbox<DB>,
    emitted: Vec<Message>,
}

/// For adapters: a connection of `pool` on which a transaction can begin. SQLite ends some
/// transactions by itself, and sqlx doesn't hear of it: a connection that it believes to be in one
/// is closed.
pub async fn acquire<DB: Database>(pool: &Pool<DB>) -> Result<PoolConnection<DB>, DriverError> {
    loop {
        let connection = pool.acquire().await.map_err(DB::error)?;
        if !connection.is_in_transaction() {
            return Ok(connection);
        }
        // Whether that fails or not, it is gone.
        let _ = connection.close().await;
    }
}

impl<DB: Database> Outbox<DB> {
    /// Begins a transaction on a connection of `pool`; on SQLite, one that writes from its start
    /// (`BEGIN IMMEDIATE`), as one that begins to write later can't wait for another writer.
    pub async fn begin(&self, pool: &Pool<DB>) -> Result<OutboxTransaction<'static, DB>, Error> {
        let failed = |error| Error::database("beginning a transaction", error);
        let connection = acquire(pool).await.map_err(failed)?;
        // A `begin` of sqlx 0.9.0 that is dropped midway leaves a transaction open on a connection
        // that goes back to the pool (transact-rs/sqlx#4393). At its end the transaction is rolled
        // back if nobody waits for it any more.
        let begin = Transaction::begin(connection, DB::BEGIN.map(SqlSafeStr::into_sql_str));
        Ok(self.attach(to_its_end(begin).await.map_err(|error| failed(DB::error(error)))?))
    }

    /// Makes an outbox's transaction of one that has begun already.
    pub fn attach<'c>(&self, transaction: Transaction<'c, DB>) -> OutboxTransaction<'c, DB> {
        OutboxTransaction { transaction, outbox: self.clone(), emitted: Vec::new() }
    }
}

impl<DB: Database> OutboxTransaction<'_, DB> {
    /// Makes and checks `message`, and keeps it until [`commit`](Self::commit) stores it with the
    /// others, in one statement. After an error the transaction stays usable. What is enqueued
    /// through the connection meanwhile comes before it: use one of the two for messages of one
    /// key.
    pub fn emit(&mut self, message: impl IntoMessage) -> Result<(), Error> {
        self.emitted.push(self.outbox.message(message)?);
        Ok(())
    }

    /// Stores what was emitted, commits, and wakes the relays of this process. If this future is
    /// dropped midway, or with [`Error::CommitUnknown`], as the connection broke in the commit,
    /// whether it committed is unknown, but they are woken: look before you do it again.
    ///
    /// A transaction that has failed, or that the database or a statement of yours has ended, is an
    /// error here, also if nothing was emitted, for which the server is asked: databases commit
    /// some of them without a word, and roll back.
    pub async fn commit(mut self) -> Result<(), Error> {
        self.outbox.enqueue_all(&mut self.transaction, &self.emitted).await?;
        let _wakes = self.outbox.waker().wake_on_drop();
        let committed = self.transaction.commit().await;
        committed.map_err(|error| Error::committing(DB::error(error)))
    }

    /// Rolls back; no message is stored.
    pub async fn rollback(self) -> Result<(), Error> {
        let rolled_back = self.transaction.rollback().await;
        rolled_back.map_err(|error| Error::database("rolling back", DB::error(error)))
    }
}

impl<DB: Database> Deref for OutboxTransaction<'_, DB> {
    type Target = DB::Connection;

    fn deref(&self) -> &DB::Connection {
        &self.transaction
    }
}

impl<DB: Database> DerefMut for OutboxTransaction<'_, DB> {
    fn deref_mut(&mut self) -> &mut DB::Connection {
        &mut self.transaction
    }
}

impl<DB: Database> fmt::Debug for OutboxTransaction<'_, DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxTransaction")
            .field("outbox", &self.outbox)
            .field("emitted", &self.emitted.len())
            .finish_non_exhaustive()
    }
}
