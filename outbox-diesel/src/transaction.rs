//! A transaction that writes its messages and wakes the relay when it commits.

use std::future::Future;
use std::num::NonZeroU32;

use diesel::connection::{TransactionDepthChange, TransactionManagerStatus};
use diesel::result::QueryResult;
use diesel_async::{AsyncConnection, TransactionManager};

use crate::database::backend::Backend as _;
use crate::error::driver_error;
use crate::{
    BEGINNING, Database, DieselSession, ENDING, Error, Outbox, OutboxTransaction, check_depth,
};

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
    /// Runs `work` in a transaction; then stores what it emitted, commits, and wakes the relays of
    /// this process. On SQLite the transaction writes from its start (`BEGIN IMMEDIATE`), as one
    /// that begins to write later can't wait for another writer. On PostgreSQL another isolation
    /// level can be set by the first statement of `work`, on MySQL and MariaDB right before.
    ///
    /// In a transaction that is open already this is a savepoint. Then the relays are woken when it
    /// is released, which is too early: after the commit of a transaction of Diesel's own,
    /// [wake](outbox_core::Waker::wake) them again.
    ///
    /// If `work` fails, or storing does, it is rolled back, and no message is stored; so is
    /// whatever transaction `work` has begun within it and left behind. If the database has ended
    /// the transaction meanwhile, or a statement of yours has, this is
    /// [`Error::TransactionEnded`], or on PostgreSQL what it says of one that has failed, even if
    /// nothing was emitted.
    ///
    /// With [`Error::CommitUnknown`] the connection broke in the commit, and whether it took effect
    /// is unknown: look before you do it again. The relays are woken.
    ///
    /// If this future is dropped midway, whether it committed is unknown, but the relays are woken
    /// if it may have. Diesel can't roll back then: the connection refuses transactions from then
    /// on, and a pool discards it. A connection to SQLite waits for its statement in the drop,
    /// which needs a multi-threaded runtime.
    pub async fn transaction<C, F, T, E>(&self, connection: &mut C, work: F) -> Result<T, E>
    where
        C: AsyncConnection<Backend = DB>,
        F: for<'t> SendAsyncFnOnce<OutboxTransaction<'t, C>, Result<T, E>>,
        E: From<Error>,
    {
        let before = depth(connection, BEGINNING)?;
        let unfinished = Unfinished::new(connection);
        let ended = self.run(&mut *unfinished.connection, work).await;
        // Whatever was the matter is in the error already.
        roll_back(&mut *unfinished.connection, before).await;
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
        begun.map_err(|error| Error::database(BEGINNING, error))?;
        let begun = depth(connection, ENDING)?;
        let mut emitted = Vec::new();
        let transaction = OutboxTransaction { connection, outbox: self, emitted: &mut emitted };
        let done = work(transaction).await?;
        check_depth(begun, depth(connection, ENDING)?)?;
        self.enqueue_all(connection, &emitted).await?;
        let _wakes = self.waker().wake_on_drop();
        let committed = C::TransactionManager::commit_transaction(connection).await;
        let committed = DieselSession::new(connection).sorted(committed).await;
        committed.map_err(Error::committing)?;
        Ok(done)
    }
}

/// Rolls back until Diesel is as deep in transactions and savepoints as it was before. A savepoint
/// that is gone, as the database has ended the transaction, counts as rolled back. What Diesel
/// can't roll back refuses to begin again.
async fn roll_back<C: AsyncConnection>(connection: &mut C, before: Option<NonZeroU32>) {
    while let Ok(depth) = status(connection).transaction_depth()
        && depth > before
    {
        let rolled_back = C::TransactionManager::rollback_transaction(connection).await;
        if rolled_back.is_err() && status(connection).transaction_depth().is_ok_and(|d| d >= depth)
        {
            status(connection).set_in_error();
        }
    }
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
