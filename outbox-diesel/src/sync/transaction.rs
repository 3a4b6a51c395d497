//! A transaction that writes its messages and wakes the relay when it commits.

use std::num::NonZeroU32;

use diesel::connection::{
    LoadConnection, TransactionDepthChange, TransactionManager, TransactionManagerStatus,
};
use diesel::result::QueryResult;

use super::Outbox;
use super::session::{ready, session};
use crate::database::backend::Backend as _;
use crate::error::driver_error;
use crate::{BEGINNING, Database, ENDING, Error, OutboxTransaction, check_depth};

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
    /// If `work` fails or panics, or storing fails, it is rolled back, and no message is stored; so
    /// is whatever transaction `work` has begun within it and left behind. If the database has
    /// ended the transaction meanwhile, or a statement of yours has, this is
    /// [`Error::TransactionEnded`], or on PostgreSQL what it says of one that has failed, even if
    /// nothing was emitted.
    ///
    /// With [`Error::CommitUnknown`] the connection broke in the commit, and whether it took effect
    /// is unknown: look before you do it again. The relays are woken.
    pub fn transaction<C, T, E>(
        &self,
        connection: &mut C,
        work: impl FnOnce(OutboxTransaction<'_, C>) -> Result<T, E>,
    ) -> Result<T, E>
    where
        C: LoadConnection<Backend = DB>,
        E: From<Error>,
    {
        let before = depth(connection, BEGINNING)?;
        let begun = begin(connection);
        let begun = ready(session(connection).sorted(begun));
        begun.map_err(|error| Error::database(BEGINNING, error))?;
        let begun = depth(connection, ENDING)?;
        let open = Open { connection, before };
        let connection = &mut *open.connection;
        let mut emitted = Vec::new();
        let transaction = OutboxTransaction { connection, outbox: self, emitted: &mut emitted };
        let done = work(transaction)?;
        check_depth(begun, depth(open.connection, ENDING)?)?;
        self.enqueue_all(open.connection, &emitted)?;
        let _wakes = self.waker().wake_on_drop();
        let committed = C::TransactionManager::commit_transaction(open.connection);
        let committed = ready(session(&mut *open.connection).sorted(committed));
        committed.map_err(Error::committing)?;
        Ok(done)
    }
}

/// A transaction that is rolled back unless it has ended.
struct Open<'c, C: LoadConnection> {
    connection: &'c mut C,
    before: Option<NonZeroU32>,
}

impl<C: LoadConnection> Drop for Open<'_, C> {
    /// Rolls back until Diesel is as deep in transactions and savepoints as it was before. Why is
    /// in the error, or in the panic. A savepoint that is gone, as the database has ended the
    /// transaction, counts as rolled back. What Diesel can't roll back refuses to begin again.
    fn drop(&mut self) {
        let Self { connection, before } = self;
        while let Ok(depth) = status(*connection).transaction_depth()
            && depth > *before
        {
            let rolled_back = C::TransactionManager::rollback_transaction(*connection);
            if rolled_back.is_err()
                && status(*connection).transaction_depth().is_ok_and(|d| d >= depth)
            {
                status(*connection).set_in_error();
            }
        }
    }
}

fn begin<C: LoadConnection<Backend: Database>>(connection: &mut C) -> QueryResult<()> {
    match C::Backend::BEGIN {
        Some(begin) if status(connection).transaction_depth()?.is_none() => {
            connection.batch_execute(begin)?;
            let state = status(connection).transaction_state()?;
            state.change_transaction_depth(TransactionDepthChange::IncreaseDepth)
        }
        _ => C::TransactionManager::begin_transaction(connection),
    }
}

fn status<C: LoadConnection>(connection: &mut C) -> &mut TransactionManagerStatus {
    C::TransactionManager::transaction_manager_status_mut(connection)
}

/// How deep in transactions and savepoints the connection is, as far as Diesel knows.
pub(super) fn depth<C: LoadConnection<Backend: Database>>(
    connection: &mut C,
    context: &'static str,
) -> Result<Option<NonZeroU32>, Error> {
    let depth = status(connection).transaction_depth();
    depth.map_err(|error| Error::database(context, driver_error::<C::Backend>(error, None)))
}
