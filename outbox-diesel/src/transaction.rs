//! A transaction that writes its messages and wakes the relay when it commits.

use std::fmt;
use std::future::Future;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};

use diesel::connection::{TransactionDepthChange, TransactionManagerStatus};
use diesel::result::QueryResult;
use diesel_async::{AsyncConnection, TransactionManager};
use outbox_core::{IntoMessage, Message};
use outbox_sql::OpenOutbox;

use crate::database::backend::Backend as _;
use crate::error::driver_error;
use crate::{Database, DieselSession, Error, Outbox};

/// A transaction of diesel-async's with an outbox. It dereferences to the connection: `&mut *tx`
/// executes queries in it, as does `&mut tx`.
pub struct OutboxTransaction<'t, C> {
    connection: &'t mut C,
    outbox: &'t OpenOutbox,
    emitted: &'t mut Vec<Message>,
}

/// An asynchronous closure whose future can be sent to another thread.
pub trait SendAsyncFnOnce<A, T>:
    AsyncFnOnce(A) -> T + FnOnce(A) -> <Self as SendAsyncFnOnce<A, T>>::Future
{
    /// What it returns.
    type Future: Future<Output = T> + Send;
}

impl<F, A, T, Fut> SendAsyncFnOnce<A, T> for F
where
    F: AsyncFnOnce(A) -> T + FnOnce(A) -> Fut,
    Fut: Future<Output = T> + Send,
{
    type Future = Fut;
}

impl<DB: Database> Outbox<DB> {
    /// Runs `work` in a transaction, or in a savepoint of the one that is open; then stores what it
    /// emitted, commits, and wakes the relays of this process. On SQLite the transaction writes from
    /// its start (`BEGIN IMMEDIATE`), as one that begins to write later can't wait for another
    /// writer.
    ///
    /// If `work` fails, or storing does, it is rolled back, and no message is stored.
    ///
    /// If this future is dropped midway, whether it committed is unknown, but the relays are woken
    /// if it may have. Diesel can't roll back then: the connection refuses transactions from then
    /// on, and a pool discards it. A connection to SQLite waits for its statement in the drop, which
    /// needs a multi-threaded runtime.
    pub async fn transaction<C, F, T, E>(&self, connection: &mut C, work: F) -> Result<T, E>
    where
        C: AsyncConnection<Backend = DB>,
        F: for<'t> SendAsyncFnOnce<OutboxTransaction<'t, C>, Result<T, E>>,
        E: From<Error>,
    {
        let unfinished = Unfinished::new(connection);
        let ended = self.run(&mut *unfinished.connection, work).await;
        unfinished.finish();
        ended
    }

    async fn run<C, F, T, E>(&self, connection: &mut C, work: F) -> Result<T, E>
    where
        C: AsyncConnection<Backend = DB>,
        F: for<'t> SendAsyncFnOnce<OutboxTransaction<'t, C>, Result<T, E>>,
        E: From<Error>,
    {
        let begun = begin(connection).await;
        let begun = DieselSession::new(&mut *connection).sorted(begun).await;
        begun.map_err(failed("beginning a transaction"))?;
        let begun = depth(connection, ENDING)?;
        let mut emitted = Vec::new();
        let transaction = OutboxTransaction { connection, outbox: self, emitted: &mut emitted };
        let mut done = work(transaction).await;
        if done.is_ok()
            && let Err(error) = self.write_emitted(connection, begun, &emitted).await
        {
            done = Err(error.into());
        }
        if done.is_ok() {
            self.commit(connection).await?;
        } else {
            // What was the matter is in the error; a connection that can't be rolled back refuses
            // to begin again.
            let _ = C::TransactionManager::rollback_transaction(connection).await;
        }
        done
    }

    async fn write_emitted<C: AsyncConnection<Backend = DB>>(
        &self,
        connection: &mut C,
        begun: Option<NonZeroU32>,
        emitted: &[Message],
    ) -> Result<(), Error> {
        // Diesel hears of some transactions that SQLite ends by itself.
        if depth(connection, ENDING)? != begun {
            return Err(Error::TransactionEnded);
        }
        self.enqueue_all(connection, emitted).await
    }

    async fn commit<C: AsyncConnection<Backend = DB>>(
        &self,
        connection: &mut C,
    ) -> Result<(), Error> {
        let _wakes = self.waker().wake_on_drop();
        let committed = C::TransactionManager::commit_transaction(connection).await;
        DieselSession::new(connection).sorted(committed).await.map_err(failed("committing"))
    }
}

const ENDING: &str = "ending a transaction";

fn failed(context: &'static str) -> impl Fn(outbox_sql::DriverError) -> Error {
    move |error| Error::database(context, error)
}

async fn begin<C: AsyncConnection<Backend: Database>>(connection: &mut C) -> QueryResult<()> {
    match C::Backend::BEGIN {
        Some(begin) if status(connection).transaction_depth()?.is_none() => {
            connection.batch_execute(begin).await?;
            let state = status(connection).transaction_state()?;
            state.change_transaction_depth(TransactionDepthChange::IncreaseDepth)
        }
        _ => C::TransactionManager::begin_transaction(connection).await,
    }
}

fn status<C: AsyncConnection>(connection: &mut C) -> &mut TransactionManagerStatus {
    C::TransactionManager::transaction_manager_status_mut(connection)
}

/// How deep in transactions and savepoints the connection is, as far as Diesel knows.
pub(crate) fn depth<C: AsyncConnection<Backend: Database>>(
    connection: &mut C,
    context: &'static str,
) -> Result<Option<NonZeroU32>, Error> {
    let depth = status(connection).transaction_depth();
    depth.map_err(|error| Error::database(context, driver_error::<C::Backend>(error, None)))
}

/// A connection in the middle of something. Dropped there, it may be in a transaction that nobody
/// ends: the next one would be a savepoint of it, and what that commits would be lost.
pub(crate) struct Unfinished<'c, C: AsyncConnection> {
    pub(crate) connection: &'c mut C,
    finished: bool,
}

impl<'c, C: AsyncConnection> Unfinished<'c, C> {
    pub(crate) fn new(connection: &'c mut C) -> Self {
        Self { connection, finished: false }
    }

    pub(crate) fn finish(mut self) {
        self.finished = true;
    }
}

impl<C: AsyncConnection> Drop for Unfinished<'_, C> {
    fn drop(&mut self) {
        if !self.finished {
            status(self.connection).set_in_error();
        }
    }
}

impl<C> OutboxTransaction<'_, C> {
    /// Makes and checks `message`, and keeps it until the transaction's end stores it with the
    /// others, in one statement. After an error the transaction stays usable. What is enqueued
    /// through the connection meanwhile comes before it: use one of the two for messages of one
    /// key.
    pub fn emit(&mut self, message: impl IntoMessage) -> Result<(), Error> {
        self.emitted.push(self.outbox.message(message)?);
        Ok(())
    }
}

impl<C> Deref for OutboxTransaction<'_, C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.connection
    }
}

impl<C> DerefMut for OutboxTransaction<'_, C> {
    fn deref_mut(&mut self) -> &mut C {
        self.connection
    }
}

impl<C> fmt::Debug for OutboxTransaction<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxTransaction")
            .field("outbox", &self.outbox)
            .field("emitted", &self.emitted.len())
            .finish_non_exhaustive()
    }
}
