//! Enqueueing in the user's transaction.

use std::fmt;
use std::marker::PhantomData;
use std::ops::Deref;

use diesel_async::AsyncConnection;
use outbox_core::IntoMessage;
use outbox_sql::{Driver, Known, OpenOutbox, OutboxConfig, SqlStore, StoreConfig};

use crate::transaction::{Unfinished, depth};
use crate::{Database, DieselSession, Error, in_a_transaction};

/// An outbox, to enqueue messages in by connections of diesel-async's. Cheap to clone. For Diesel's
/// own there is [`sync::Outbox`](crate::sync::Outbox).
///
/// It dereferences to [`OpenOutbox`]: what it knows of itself, its waker, its limits.
pub struct Outbox<DB: Database> {
    open: OpenOutbox,
    database: PhantomData<fn() -> DB>,
}

impl<DB: Database> Outbox<DB> {
    /// Creates the default outbox's tables, or brings them up to date; see
    /// [`migrate_with`](Self::migrate_with).
    pub async fn migrate<C>(connection: &mut C) -> Result<(), Error>
    where
        C: AsyncConnection<Backend = DB>,
    {
        Self::migrate_with(connection, &OutboxConfig::default()).await
    }

    /// Creates the tables, or brings them up to date, under a lock: any number of processes may
    /// do it at once, and again. On SQLite the file is switched to write-ahead logging, and other
    /// writers are waited for, also by a connection whose `busy_timeout` is 0.
    ///
    /// The connection must be in no transaction. If this future is dropped midway, the connection
    /// refuses transactions from then on. For a migration tool there are
    /// [`OutboxMigrations`](crate::OutboxMigrations) and [`script`](crate::script).
    pub async fn migrate_with<C>(connection: &mut C, config: &OutboxConfig) -> Result<(), Error>
    where
        C: AsyncConnection<Backend = DB>,
    {
        if depth(connection, "migrating")?.is_some() {
            return Err(in_a_transaction());
        }
        let unfinished = Unfinished::new(connection);
        let migrated = DieselSession::new(&mut *unfinished.connection).migrate(config).await;
        unfinished.finish();
        migrated
    }

    /// Opens the default outbox; see [`open_with`](Self::open_with).
    pub async fn open<C>(connection: &mut C) -> Result<Self, Error>
    where
        C: AsyncConnection<Backend = DB>,
    {
        Self::open_with(connection, OutboxConfig::default()).await
    }

    /// Opens an outbox that has been migrated, and refuses one of another version. The number of
    /// partitions comes from the database.
    pub async fn open_with<C>(connection: &mut C, config: OutboxConfig) -> Result<Self, Error>
    where
        C: AsyncConnection<Backend = DB>,
    {
        let open = DieselSession::new(connection).open(config).await?;
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
    pub async fn enqueue<C>(
        &self,
        connection: &mut C,
        message: impl IntoMessage,
    ) -> Result<(), Error>
    where
        C: AsyncConnection<Backend = DB>,
    {
        self.enqueue_all(connection, [message]).await
    }

    /// Stores `messages` in their order, in as few statements as the database takes. If one of
    /// them is refused by the limits, none is stored.
    pub async fn enqueue_all<C>(
        &self,
        connection: &mut C,
        messages: impl IntoIterator<Item = impl IntoMessage>,
    ) -> Result<(), Error>
    where
        C: AsyncConnection<Backend = DB>,
    {
        if depth(connection, "enqueueing")?.is_none() {
            return Err(Error::NoTransaction);
        }
        let messages = self.messages(messages)?;
        self.open.write(&mut DieselSession::new(connection), &messages, Known::Transaction).await
    }

    /// Like [`enqueue_all`](Self::enqueue_all), for a transaction that was begun by hand, which
    /// Diesel doesn't know of: without one this is [`Error::TransactionEnded`].
    pub async fn enqueue_in_raw_transaction<C>(
        &self,
        connection: &mut C,
        messages: impl IntoIterator<Item = impl IntoMessage>,
    ) -> Result<(), Error>
    where
        C: AsyncConnection<Backend = DB>,
    {
        let messages = self.messages(messages)?;
        let known = match depth(connection, "enqueueing")? {
            Some(_) => Known::Transaction,
            None => Known::Nothing,
        };
        self.open.write(&mut DieselSession::new(connection), &messages, known).await
    }

    /// Opens a store for a relay, on connections of its own.
    pub async fn store<D: Driver>(&self, driver: D) -> Result<SqlStore<D>, Error> {
        self.store_with(driver, StoreConfig::default()).await
    }

    /// Opens a store with other settings; its names are this outbox's whatever `config` says.
    pub async fn store_with<D: Driver>(
        &self,
        driver: D,
        config: StoreConfig,
    ) -> Result<SqlStore<D>, Error> {
        self.open.store(driver, config).await
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
