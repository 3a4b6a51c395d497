//! A transaction that writes its messages and wakes the relay when it commits.

use std::fmt;
use std::future::Future;
use std::ops::Deref;
use std::pin::Pin;

use async_trait::async_trait;
use outbox_core::{IntoMessage, Message};
use outbox_sql::{Dialect, DriverError};
use outbox_sqlx::to_its_end;
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    ExecResult, IsolationLevel, QueryResult, SqliteTransactionMode, Statement, StatementBuilder,
    TransactionError, TransactionOptions, TransactionSession, TransactionTrait,
};

use crate::error::sort;
use crate::{Error, Outbox, db_err};

/// A transaction of SeaORM's with an outbox. Queries execute in it as in SeaORM's own, to which it
/// dereferences for all else.
///
/// Dropping it rolls back, and no message is stored.
pub struct OutboxTransaction {
    transaction: DatabaseTransaction,
    outbox: Outbox,
    emitted: Vec<Message>,
}

impl Outbox {
    /// Begins a transaction on a connection of `db`; on SQLite, one that writes from its start
    /// (`BEGIN IMMEDIATE`), as one that begins to write later can't wait for another writer. Begin
    /// one with other options by SeaORM's means and [`attach`](Self::attach) it.
    pub async fn begin(&self, db: &DatabaseConnection) -> Result<OutboxTransaction, Error> {
        let (db, dialect) = (db.clone(), self.dialect());
        // A `begin` of sqlx 0.9.0 that is dropped midway leaves a transaction open on a connection
        // that goes back to the pool (transact-rs/sqlx#4393). At its end the transaction is rolled
        // back if nobody waits for it any more. SeaORM gives no way to wait for the connection
        // before that.
        let begun = to_its_end(async move { begin(&db, dialect).await });
        let begun = begun.await;
        Ok(self.attach(begun.map_err(|error| Error::database("beginning a transaction", error))?))
    }

    /// Makes an outbox's transaction of one that has begun already. On SQLite rather
    /// [`begin`](Self::begin) it here: where SQLite has ended a transaction by itself, SeaORM makes
    /// savepoints of all that come later on that connection, of which a rollback leaves one open.
    pub fn attach(&self, transaction: DatabaseTransaction) -> OutboxTransaction {
        OutboxTransaction { transaction, outbox: self.clone(), emitted: Vec::new() }
    }
}

async fn begin(
    db: &DatabaseConnection,
    dialect: Dialect,
) -> Result<DatabaseTransaction, DriverError> {
    loop {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let begun = db.begin_with_options(options).await.map_err(|error| sort(dialect, error))?;
        #[cfg(feature = "sqlite")]
        if dialect == Dialect::Sqlite
            && is_savepoint(&begun).await.map_err(|error| sort(dialect, error))?
        {
            drop(begun);
            outbox_sqlx::acquire(db.get_sqlite_connection_pool()).await?;
            continue;
        }
        return Ok(begun);
    }
}

/// SQLite ends some transactions by itself, and sqlx doesn't hear of it. The next that begins on
/// that connection is a savepoint to sqlx: it waits for no other writer, and rolling it back leaves
/// it open, so that what is committed after that is not. SeaORM doesn't tell, but sqlx numbers its
/// savepoints: the first within a transaction is the first of all, and may be rolled back twice.
#[cfg(feature = "sqlite")]
async fn is_savepoint(begun: &DatabaseTransaction) -> Result<bool, DbErr> {
    let within = begun.begin().await?;
    let first = within.execute_unprepared("ROLLBACK TO SAVEPOINT _sqlx_savepoint_1").await;
    Ok(first.is_err() || within.rollback().await.is_err())
}

impl OutboxTransaction {
    /// Makes and checks `message`, and keeps it until [`commit`](Self::commit) stores it with the
    /// others, in one statement. After an error the transaction stays usable. What is enqueued in
    /// it meanwhile comes before it: use one of the two for messages of one key.
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
    ///
    /// Nested transactions must have ended: SeaORM would commit the innermost in place of this.
    pub async fn commit(self) -> Result<(), Error> {
        self.outbox.enqueue_all(&self.transaction, &self.emitted).await?;
        let _wakes = self.outbox.waker().wake_on_drop();
        let committed = self.transaction.commit().await;
        committed.map_err(|error| Error::committing(sort(self.outbox.dialect(), error)))
    }

    /// Rolls back; no message is stored.
    pub async fn rollback(self) -> Result<(), Error> {
        let rolled_back = self.transaction.rollback().await;
        rolled_back
            .map_err(|error| Error::database("rolling back", sort(self.outbox.dialect(), error)))
    }
}

impl Deref for OutboxTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.transaction
    }
}

/// For code that is generic over SeaORM's transactions: like the methods of the same names.
#[async_trait]
impl TransactionSession for OutboxTransaction {
    async fn commit(self) -> Result<(), DbErr> {
        self.commit().await.map_err(db_err)
    }

    async fn rollback(self) -> Result<(), DbErr> {
        self.rollback().await.map_err(db_err)
    }
}

#[async_trait]
impl ConnectionTrait for OutboxTransaction {
    fn get_database_backend(&self) -> DbBackend {
        self.transaction.get_database_backend()
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        self.transaction.execute_raw(statement).await
    }

    async fn execute<S: StatementBuilder>(&self, statement: &S) -> Result<ExecResult, DbErr> {
        self.transaction.execute(statement).await
    }

    async fn execute_unprepared(&self, text: &str) -> Result<ExecResult, DbErr> {
        self.transaction.execute_unprepared(text).await
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        self.transaction.query_one_raw(statement).await
    }

    async fn query_one<S: StatementBuilder>(
        &self,
        statement: &S,
    ) -> Result<Option<QueryResult>, DbErr> {
        self.transaction.query_one(statement).await
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        self.transaction.query_all_raw(statement).await
    }

    async fn query_all<S: StatementBuilder>(
        &self,
        statement: &S,
    ) -> Result<Vec<QueryResult>, DbErr> {
        self.transaction.query_all(statement).await
    }

    fn support_returning(&self) -> bool {
        self.transaction.support_returning()
    }

    fn is_mock_connection(&self) -> bool {
        self.transaction.is_mock_connection()
    }
}

/// Nested transactions are SeaORM's, on savepoints.
#[async_trait]
impl TransactionTrait for OutboxTransaction {
    type Transaction = DatabaseTransaction;

    async fn begin(&self) -> Result<DatabaseTransaction, DbErr> {
        self.transaction.begin().await
    }

    async fn begin_with_config(
        &self,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<DatabaseTransaction, DbErr> {
        self.transaction.begin_with_config(isolation_level, access_mode).await
    }

    async fn begin_with_options(
        &self,
        options: TransactionOptions,
    ) -> Result<DatabaseTransaction, DbErr> {
        self.transaction.begin_with_options(options).await
    }

    async fn transaction<F, T, E>(&self, callback: F) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(
                &'c DatabaseTransaction,
            ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
            + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        self.transaction.transaction(callback).await
    }

    async fn transaction_with_config<F, T, E>(
        &self,
        callback: F,
        isolation_level: Option<IsolationLevel>,
        access_mode: Option<AccessMode>,
    ) -> Result<T, TransactionError<E>>
    where
        F: for<'c> FnOnce(
                &'c DatabaseTransaction,
            ) -> Pin<Box<dyn Future<Output = Result<T, E>> + Send + 'c>>
            + Send,
        T: Send,
        E: fmt::Display + fmt::Debug + Send,
    {
        self.transaction.transaction_with_config(callback, isolation_level, access_mode).await
    }
}

impl fmt::Debug for OutboxTransaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxTransaction")
            .field("outbox", &self.outbox)
            .field("emitted", &self.emitted.len())
            .finish_non_exhaustive()
    }
}
