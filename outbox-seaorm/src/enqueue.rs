//! Enqueueing in the user's transaction.

use std::fmt;
use std::ops::Deref;

use outbox_core::IntoMessage;
use outbox_sql::{Driver as _, Known, OpenOutbox, OutboxConfig, StoreConfig, locate};
use sea_orm::{ConnectionTrait, DatabaseConnection, TransactionSession};

use crate::lent::Lent;
use crate::{Error, SeaOrmDriver, Store};

/// An outbox, to enqueue messages in. Cheap to clone.
///
/// It dereferences to [`OpenOutbox`]: what it knows of itself, its waker, its limits.
#[derive(Clone)]
pub struct Outbox {
    open: OpenOutbox,
    driver: SeaOrmDriver,
}

impl Outbox {
    /// Creates the default outbox's tables, or brings them up to date; see
    /// [`migrate_with`](Self::migrate_with).
    pub async fn migrate(db: &DatabaseConnection) -> Result<(), Error> {
        Self::migrate_with(db, &OutboxConfig::default()).await
    }

    /// Creates the tables, or brings them up to date, under a lock: any number of processes may
    /// do it at once, and again. On SQLite the file is switched to write-ahead logging.
    ///
    /// Runs on a connection of its own, as the user of `db`. Where `config` names no schema of
    /// PostgreSQL, the one counts that `db` creates its tables in. For SeaORM's migrator there are
    #[cfg_attr(feature = "migration", doc = "[`migrations`](crate::migrations).")]
    #[cfg_attr(not(feature = "migration"), doc = "`migrations`, with the feature `migration`.")]
    pub async fn migrate_with(db: &DatabaseConnection, config: &OutboxConfig) -> Result<(), Error> {
        let (driver, config) = located(db, config.clone()).await?;
        config.migrate(&driver).await
    }

    /// Opens the default outbox; see [`open_with`](Self::open_with).
    pub async fn open(db: &DatabaseConnection) -> Result<Self, Error> {
        Self::open_with(db, OutboxConfig::default()).await
    }

    /// Opens an outbox that has been migrated, and refuses one of another version. The number of
    /// partitions comes from the database. Where `config` names no schema of PostgreSQL, the outbox
    /// is the one that `db` finds.
    pub async fn open_with(db: &DatabaseConnection, config: OutboxConfig) -> Result<Self, Error> {
        let (driver, config) = located(db, config).await?;
        let open = OpenOutbox::open(&driver, config).await?;
        Ok(Self { open, driver })
    }

    /// Stores `message` (a message, its builder, or an event) in the transaction `transaction`: one
    /// of SeaORM's, nested or not, or an [`OutboxTransaction`](crate::OutboxTransaction).
    ///
    /// A connection without a transaction is no [`TransactionSession`], so it is refused when this
    /// is compiled:
    ///
    /// ```compile_fail,E0277
    /// # async fn refused(
    /// #     outbox: outbox_seaorm::Outbox,
    /// #     db: sea_orm::DatabaseConnection,
    /// #     message: outbox_core::Message,
    /// # ) {
    /// outbox.enqueue(&db, message).await;
    /// # }
    /// ```
    ///
    /// ```
    /// # use sea_orm::TransactionTrait;
    /// # async fn accepted(
    /// #     outbox: outbox_seaorm::Outbox,
    /// #     db: sea_orm::DatabaseConnection,
    /// #     message: outbox_core::Message,
    /// # ) {
    /// outbox.enqueue(&db.begin().await.unwrap(), message).await;
    /// # }
    /// ```
    ///
    /// In a transaction that the server has ended by itself, or a statement of yours, this is
    /// [`Error::TransactionEnded`]. To know, MySQL is asked in a round trip of its own, and
    /// PostgreSQL in two if the transaction has written nothing yet. After any other error than
    /// [`Error::Message`] roll the transaction back.
    pub async fn enqueue<C: ConnectionTrait + TransactionSession>(
        &self,
        transaction: &C,
        message: impl IntoMessage,
    ) -> Result<(), Error> {
        self.enqueue_all(transaction, [message]).await
    }

    /// Stores `messages` in their order, in as few statements as the database takes. If one of
    /// them is refused by the limits, none is stored.
    pub async fn enqueue_all<C: ConnectionTrait + TransactionSession>(
        &self,
        transaction: &C,
        messages: impl IntoIterator<Item = impl IntoMessage>,
    ) -> Result<(), Error> {
        let messages = self.messages(messages)?;
        let mut session = Lent::new(transaction, self.dialect(), "enqueueing")?;
        self.open.write(&mut session, &messages, Known::Transaction).await
    }

    /// Like [`enqueue_all`](Self::enqueue_all), where SeaORM gives no more than a connection, as in
    /// `ActiveModelBehavior::after_save`: without a transaction, as when a model is saved on the
    /// pool, this is [`Error::TransactionEnded`].
    pub async fn enqueue_in_raw_transaction<C: ConnectionTrait>(
        &self,
        connection: &C,
        messages: impl IntoIterator<Item = impl IntoMessage>,
    ) -> Result<(), Error> {
        let messages = self.messages(messages)?;
        let mut session = Lent::new(connection, self.dialect(), "enqueueing")?;
        self.open.write(&mut session, &messages, Known::Nothing).await
    }

    /// Opens a store for a relay, on connections of its own (see [`SeaOrmDriver::like`]).
    pub async fn store(&self) -> Result<Store, Error> {
        self.store_with(StoreConfig::default()).await
    }

    /// Opens a store with other settings; its names are this outbox's whatever `config` says.
    pub async fn store_with(&self, config: StoreConfig) -> Result<Store, Error> {
        self.open.store(self.driver.clone(), config).await
    }
}

/// A driver, and the configuration with the schema that `db` works in: the driver's connections may
/// look elsewhere.
async fn located(
    db: &DatabaseConnection,
    mut config: OutboxConfig,
) -> Result<(SeaOrmDriver, OutboxConfig), Error> {
    let driver = SeaOrmDriver::like(db)?;
    let dialect = driver.dialect();
    let mut session = Lent::new(db, dialect, "connecting")?;
    config.names = locate(&mut session, dialect, &config.names).await?;
    Ok((driver, config))
}

impl Deref for Outbox {
    type Target = OpenOutbox;

    fn deref(&self) -> &OpenOutbox {
        &self.open
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.open.fmt(f)
    }
}
