//! Enqueueing in the user's transaction.

use std::fmt;
use std::ops::Deref;

use outbox_core::IntoMessage;
use outbox_sql::{Known, OpenOutbox, OutboxConfig, StoreConfig};
use sqlx::{Connection, Pool};

use crate::{Database, Error, SqlxDriver, SqlxSession, Store};

/// An outbox, to enqueue messages in. Cheap to clone.
///
/// It dereferences to [`OpenOutbox`]: what it knows of itself, its waker, its limits.
pub struct Outbox<DB: Database> {
    open: OpenOutbox,
    driver: SqlxDriver<DB>,
}

impl<DB: Database> Outbox<DB> {
    /// Creates the default outbox's tables, or brings them up to date; see
    /// [`migrate_with`](Self::migrate_with).
    pub async fn migrate(pool: &Pool<DB>) -> Result<(), Error> {
        Self::migrate_with(pool, &OutboxConfig::default()).await
    }

    /// Creates the tables, or brings them up to date, under a lock: any number of processes may
    /// do it at once, and again. On SQLite the file is switched to write-ahead logging.
    ///
    /// Runs on a connection of its own, as the user of `pool`. For a migration tool of your own
    /// there is [`script`](crate::script).
    pub async fn migrate_with(pool: &Pool<DB>, config: &OutboxConfig) -> Result<(), Error> {
        config.migrate(&SqlxDriver::like(pool)).await
    }

    /// Opens the default outbox; see [`open_with`](Self::open_with).
    pub async fn open(pool: &Pool<DB>) -> Result<Self, Error> {
        Self::open_with(pool, OutboxConfig::default()).await
    }

    /// Opens an outbox that has been migrated, and refuses one of another version. The number of
    /// partitions comes from the database.
    pub async fn open_with(pool: &Pool<DB>, config: OutboxConfig) -> Result<Self, Error> {
        let driver = SqlxDriver::like(pool);
        let open = OpenOutbox::open(&driver, config).await?;
        Ok(Self { open, driver })
    }

    /// Stores `message` (a message, its builder, or an event) in the transaction that `connection`
    /// is in; `&mut *tx` of sqlx's transactions and savepoints is such a connection.
    ///
    /// Outside a transaction this is [`Error::NoTransaction`], without asking the database; in one
    /// that the server has ended by itself, or a statement of yours, [`Error::TransactionEnded`].
    /// To know, MySQL is asked in a round trip of its own, and PostgreSQL in two if the transaction
    /// has written nothing yet. After any other error than [`Error::Message`] roll the transaction
    /// back.
    pub async fn enqueue(
        &self,
        connection: &mut DB::Connection,
        message: impl IntoMessage,
    ) -> Result<(), Error> {
        self.enqueue_all(connection, [message]).await
    }

    /// Stores `messages` in their order, in as few statements as the database takes. If one of
    /// them is refused by the limits, none is stored.
    pub async fn enqueue_all(
        &self,
        connection: &mut DB::Connection,
        messages: impl IntoIterator<Item = impl IntoMessage>,
    ) -> Result<(), Error> {
        if !connection.is_in_transaction() {
            return Err(Error::NoTransaction);
        }
        let messages = self.messages(messages)?;
        let mut session = SqlxSession::<DB, _>::new(connection);
        self.open.write(&mut session, &messages, Known::Transaction).await
    }

    /// Like [`enqueue_all`](Self::enqueue_all), for a transaction that was begun by hand, which
    /// sqlx doesn't know of: without one this is [`Error::TransactionEnded`].
    pub async fn enqueue_in_raw_transaction(
        &self,
        connection: &mut DB::Connection,
        messages: impl IntoIterator<Item = impl IntoMessage>,
    ) -> Result<(), Error> {
        let messages = self.messages(messages)?;
        let known =
            if connection.is_in_transaction() { Known::Transaction } else { Known::Nothing };
        self.open.write(&mut SqlxSession::<DB, _>::new(connection), &messages, known).await
    }

    /// Opens a store for a relay, on connections of its own: they have the pool's options, and
    /// nothing that its `after_connect` does (see [`SqlxDriver::like`]).
    pub async fn store(&self) -> Result<Store<DB>, Error> {
        self.store_with(StoreConfig::default()).await
    }

    /// Opens a store with other settings; its names are this outbox's whatever `config` says.
    pub async fn store_with(&self, config: StoreConfig) -> Result<Store<DB>, Error> {
        self.open.store(self.driver.clone(), config).await
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
        Self { open: self.open.clone(), driver: self.driver.clone() }
    }
}

impl<DB: Database> fmt::Debug for Outbox<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.open.fmt(f)
    }
}
