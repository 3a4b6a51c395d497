//! Enqueueing in the user's transaction.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use diesel::connection::LoadConnection;
use outbox_core::IntoMessage;
use outbox_sql::{Known, OpenOutbox, OutboxConfig};

use super::session::{ready, session};
use super::transaction::depth;
use crate::{Database, Error, in_a_transaction};

/// An outbox, to enqueue messages in by Diesel's own connections. Cheap to clone.
///
/// It dereferences to [`OpenOutbox`]: what it knows of itself, its waker, its limits, and
/// [`store`](OpenOutbox::store) for a relay.
pub struct Outbox<DB: Database> {
    open: OpenOutbox,
    database: PhantomData<fn() -> DB>,
}

impl<DB: Database> Outbox<DB> {
    /// Creates the default outbox's tables, or brings them up to date; see
    /// [`migrate_with`](Self::migrate_with).
    pub fn migrate<C>(connection: &mut C) -> Result<(), Error>
    where
        C: LoadConnection<Backend = DB>,
    {
        Self::migrate_with(connection, &OutboxConfig::default())
    }

    /// Creates the tables, or brings them up to date, under a lock: any number of processes may
    /// do it at once, and again. On SQLite the file is switched to write-ahead logging, and other
    /// writers are waited for, also by a connection whose `busy_timeout` is 0.
    ///
    /// The connection must be in no transaction. For a migration tool there are
    /// [`OutboxMigrations`](crate::OutboxMigrations) and [`script`](crate::script).
    pub fn migrate_with<C>(connection: &mut C, config: &OutboxConfig) -> Result<(), Error>
    where
        C: LoadConnection<Backend = DB>,
    {
        if depth(connection, "migrating")?.is_some() {
            return Err(in_a_transaction());
        }
        ready(session(connection).migrate(config))
    }

    /// Opens the default outbox; see [`open_with`](Self::open_with).
    pub fn open<C>(connection: &mut C) -> Result<Self, Error>
    where
        C: LoadConnection<Backend = DB>,
    {
        Self::open_with(connection, OutboxConfig::default())
    }

    /// Opens an outbox that has been migrated, and refuses one of another version. The number of
    /// partitions comes from the database.
    pub fn open_with<C>(connection: &mut C, config: OutboxConfig) -> Result<Self, Error>
    where
        C: LoadConnection<Backend = DB>,
    {
        let open = ready(session(connection).open(config))?;
        Ok(Self { open, database: PhantomData })
    }

    /// Stores `message` (a message, its builder, or an event) in the transaction that `connection`
    /// is in, or in its savepoint.
    ///
    /// Outside a transaction this is [`Error::NoTransaction`], without asking the database; in one
    /// that the server has ended by itself, or a statement of yours, [`Error::TransactionEnded`].
    /// To know, MySQL is asked in a round trip of its own, and PostgreSQL in two if the transaction
    /// has written nothing yet. Where SQLite has ended it and Diesel has heard of that, to Diesel
    /// it is outside of one. After any other error than [`Error::Message`] roll the transaction
    /// back.
    pub fn enqueue<C>(&self, connection: &mut C, message: impl IntoMessage) -> Result<(), Error>
    where
        C: LoadConnection<Backend = DB>,
    {
        self.enqueue_all(connection, [message])
    }

    /// Stores `messages` in their order, in as few statements as the database takes. If one of
    /// them is refused by the limits, none is stored.
    pub fn enqueue_all<C>(
        &self,
        connection: &mut C,
        messages: impl IntoIterator<Item = impl IntoMessage>,
    ) -> Result<(), Error>
    where
        C: LoadConnection<Backend = DB>,
    {
        if depth(connection, "enqueueing")?.is_none() {
            return Err(Error::NoTransaction);
        }
        let messages = self.messages(messages)?;
        ready(self.open.write(&mut session(connection), &messages, Known::Transaction))
    }

    /// Like [`enqueue_all`](Self::enqueue_all), for a transaction that was begun by hand, which
    /// Diesel doesn't know of: without one this is [`Error::TransactionEnded`].
    pub fn enqueue_in_raw_transaction<C>(
        &self,
        connection: &mut C,
        messages: impl IntoIterator<Item = impl IntoMessage>,
    ) -> Result<(), Error>
    where
        C: LoadConnection<Backend = DB>,
    {
        let messages = self.messages(messages)?;
        let known = match depth(connection, "enqueueing")? {
            Some(_) => Known::Transaction,
            None => Known::Nothing,
        };
        ready(self.open.write(&mut session(connection), &messages, known))
    }
}

impl<DB: Database> Deref for Outbox<DB> {
    type Target = OpenOutbox;

    fn deref(&self) -> &OpenOutbox {
        &self.open
    }
}

impl<DB: Database> Clone for Outbox<DB> {
    fn clone(&self) -> Self {
        Self { open: self.open.clone(), database: PhantomData }
    }
}

impl<DB: Database> fmt::Debug for Outbox<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.open.fmt(f)
    }
}
