//! A transaction that writes its messages and wakes the relay when it commits.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::{Deref, DerefMut};

use diesel::connection::{
    LoadConnection, TransactionDepthChange, TransactionManager, TransactionManagerStatus,
};
use diesel::result::QueryResult;
use outbox_core::{IntoMessage, Message};
use outbox_sql::OpenOutbox;

use super::Outbox;
use super::session::{ready, session};
use crate::database::backend::Backend as _;
use crate::error::driver_error;
use crate::{Database, Error};

/// A transaction of Diesel's with an outbox. It dereferences to the connection: `&mut *tx` executes
/// queries in it.
pub struct OutboxTransaction<'t, C> {
    connection: &'t mut C,
    outbox: &'t OpenOutbox,
    emitted: &'t mut Vec<Message>,
}

impl<DB: Database> Outbox<DB> {
    /// Runs `work` in a transaction, or in a savepoint of the one that is open; then stores what it
    /// emitted, commits, and wakes the relays of this process. On SQLite the transaction writes from
    /// its start (`BEGIN IMMEDIATE`), as one that begins to write later can't wait for another
    /// writer.
    ///
    /// If `work` fails or panics, or storing fails, it is rolled back, and no message is stored.
    pub fn transaction<C, T, E>(
        &self,
        connection: &mut C,
        work: impl FnOnce(OutboxTransaction<'_, C>) -> Result<T, E>,
    ) -> Result<T, E>
    where
        C: LoadConnection<Backend = DB>,
        E: From<Error>,
    {
        let begun = begin(connection);
        ready(session(connection).sorted(begun)).map_err(failed("beginning a transaction"))?;
        let begun = depth(connection, ENDING)?;
        let mut open = Open { connection, ended: false };
        let mut emitted = Vec::new();
        let connection = &mut *open.connection;
        let transaction = OutboxTransaction { connection, outbox: self, emitted: &mut emitted };
        let done = work(transaction)?;
        // Diesel hears of some transactions that SQLite ends by itself.
        if depth(open.connection, ENDING)? != begun {
            return Err(Error::TransactionEnded.into());
        }
        self.enqueue_all(open.connection, &emitted)?;
        open.ended = true;
        let _wakes = self.waker().wake_on_drop();
        let committed = C::TransactionManager::commit_transaction(open.connection);
        ready(session(open.connection).sorted(committed)).map_err(failed("committing"))?;
        Ok(done)
    }
}

/// A transaction that is rolled back unless it has ended.
struct Open<'c, C: LoadConnection> {
    connection: &'c mut C,
    ended: bool,
}

impl<C: LoadConnection> Drop for Open<'_, C> {
    fn drop(&mut self) {
        if !self.ended {
            // Why it is rolled back is in the error, or in the panic; a connection that can't be
            // rolled back refuses to begin again.
            let _ = C::TransactionManager::rollback_transaction(self.connection);
        }
    }
}

const ENDING: &str = "ending a transaction";

fn failed(context: &'static str) -> impl Fn(outbox_sql::DriverError) -> Error {
    move |error| Error::database(context, error)
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
