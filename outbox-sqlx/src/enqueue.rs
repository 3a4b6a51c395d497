//! Enqueueing in the user's transaction.

use std::fmt;
use std::slice;
use std::sync::Arc;

use outbox_core::{Limits, Message, Partition, StoreError, StoreErrorKind, Waker};
use outbox_sql::{Info, Names, Probe, StoreConfig, enqueue_statements, inspect};
use sqlx::{Connection, Pool};

use crate::{Database, Error, SqlxDriver, Store};

/// An outbox, to enqueue messages in. Cheap to clone.
pub struct Outbox<DB: Database>(Arc<Inner<DB>>);

struct Inner<DB: Database> {
    driver: SqlxDriver<DB>,
    names: Names,
    partitions: u16,
    limits: Limits,
    waker: Waker,
}

impl<DB: Database> Outbox<DB> {
    /// Creates the default outbox's tables, or brings them up to date; see
    /// [`OutboxBuilder::migrate`].
    pub async fn migrate(pool: &Pool<DB>) -> Result<(), Error> {
        Self::builder().migrate(pool).await
    }

    /// Opens the default outbox; see [`OutboxBuilder::open`].
    pub async fn open(pool: &Pool<DB>) -> Result<Self, Error> {
        Self::builder().open(pool).await
    }

    /// Starts an outbox with names, limits or a waker of its own.
    pub fn builder() -> OutboxBuilder<DB> {
        OutboxBuilder::new()
    }

    /// Stores `message` in the transaction that `connection` is in; `&mut *tx` of sqlx's
    /// transactions and savepoints is such a connection.
    ///
    /// Outside a transaction this is [`Error::NoTransaction`], without asking the database; in one
    /// that the server has ended by itself, [`Error::TransactionEnded`]. To know, MySQL and MariaDB
    /// are asked in a round trip of its own. After any other error than [`Error::Message`] roll the transaction back.
    pub async fn enqueue(
        &self,
        connection: &mut DB::Connection,
        message: &Message,
    ) -> Result<(), Error> {
        self.enqueue_all(connection, slice::from_ref(message)).await
    }

    /// Stores `messages` in their order, in as few statements as the database takes. If one of
    /// them is refused by the limits, none is stored.
    pub async fn enqueue_all(
        &self,
        connection: &mut DB::Connection,
        messages: &[Message],
    ) -> Result<(), Error> {
        if !connection.is_in_transaction() {
            return Err(Error::NoTransaction);
        }
        self.enqueue_in_raw_transaction(connection, messages).await
    }

    /// Like [`enqueue_all`](Self::enqueue_all), for a transaction that was begun by hand, which
    /// sqlx doesn't know of. **On PostgreSQL, without a transaction the messages are stored at
    /// once, whatever becomes of the change that they tell of.** Elsewhere the server is asked:
    /// without one this is [`Error::TransactionEnded`].
    pub async fn enqueue_in_raw_transaction(
        &self,
        connection: &mut DB::Connection,
        messages: &[Message],
    ) -> Result<(), Error> {
        for message in messages {
            self.check(message)?;
        }
        if messages.is_empty() {
            return Ok(());
        }
        self.check_open(connection).await?;
        let Inner { names, partitions, .. } = &*self.0;
        for statement in enqueue_statements(DB::DIALECT, names, *partitions, messages) {
            let done = DB::execute(connection, &statement).await;
            done.map_err(|error| Error::database("enqueueing", error))?;
        }
        Ok(())
    }

    /// Some databases end a transaction by themselves, and sqlx doesn't hear of it.
    async fn check_open(&self, connection: &mut DB::Connection) -> Result<(), Error> {
        let failed = |error| Error::database("enqueueing", error);
        let Some(probe) = Probe::of(DB::DIALECT) else { return Ok(()) };
        let answer = DB::run(connection, probe.text).await;
        if probe.is_open(answer).map_err(failed)? {
            return Ok(());
        }
        if probe.begins {
            // Where sqlx believes in a transaction and in savepoints, they must be there for it to
            // roll back: otherwise it would keep what the probe has begun, and hand the
            // connection out again. How deep it is in them it doesn't tell.
            let savepoint = |n| format!("SAVEPOINT _sqlx_savepoint_{n};");
            let text = if connection.is_in_transaction() {
                (1..=DEEPEST).map(savepoint).collect()
            } else {
                "ROLLBACK".to_owned()
            };
            DB::run(connection, &text).await.map_err(failed)?;
        }
        Err(Error::TransactionEnded)
    }

    /// Checks a message against this outbox's limits.
    pub fn check(&self, message: &Message) -> Result<(), Error> {
        Ok(self.0.limits.check(message)?)
    }

    /// How many partitions the outbox has.
    pub fn partitions(&self) -> u16 {
        self.0.partitions
    }

    /// Where its tables are. Unless the schema was named, it is the one in which
    /// [`open`](OutboxBuilder::open) found them: another connection's `search_path` changes nothing.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// Wakes relays of this process; [`OutboxTransaction::commit`](crate::OutboxTransaction) does
    /// it by itself. Give it to the relay, and wake it after committing by other means.
    pub fn waker(&self) -> &Waker {
        &self.0.waker
    }

    /// Opens a store for a relay, on connections of its own: they have the pool's options, and
    /// nothing that its `after_connect` does (see [`SqlxDriver::like`]).
    pub async fn store(&self) -> Result<Store<DB>, Error> {
        self.store_with(StoreConfig::default()).await
    }

    /// Opens a store with other settings; its names are this outbox's whatever `config` says.
    pub async fn store_with(&self, config: StoreConfig) -> Result<Store<DB>, Error> {
        let config = StoreConfig { names: self.0.names.clone(), ..config };
        Ok(Store::open(self.0.driver.clone(), config).await?)
    }
}

/// Nobody nests more savepoints than that.
const DEEPEST: u32 = 32;

impl<DB: Database> Clone for Outbox<DB> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<DB: Database> fmt::Debug for Outbox<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("names", &self.0.names)
            .field("partitions", &self.0.partitions)
            .field("limits", &self.0.limits)
            .finish_non_exhaustive()
    }
}

/// Settings of an [`Outbox`].
#[must_use = "a builder does nothing until `open` or `migrate` is called"]
pub struct OutboxBuilder<DB> {
    names: Names,
    partitions: u16,
    limits: Limits,
    waker: Waker,
    database: std::marker::PhantomData<fn() -> DB>,
}

impl<DB: Database> OutboxBuilder<DB> {
    fn new() -> Self {
        Self {
            names: Names::default(),
            partitions: Partition::DEFAULT_COUNT,
            limits: Limits::default(),
            waker: Waker::new(),
            database: std::marker::PhantomData,
        }
    }

    /// Where the tables are: `outbox` and what begins with it, unless set.
    pub fn names(mut self, names: Names) -> Self {
        self.names = names;
        self
    }

    /// How many partitions [`migrate`](Self::migrate) gives the outbox: 16 unless set. It can't be
    /// changed later, and is the most relays that can be busy at once.
    pub fn partitions(mut self, partitions: u16) -> Self {
        self.partitions = partitions;
        self
    }

    /// What messages may contain.
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// Shares a waker, for instance of several outboxes.
    pub fn waker(mut self, waker: Waker) -> Self {
        self.waker = waker;
        self
    }

    /// Creates the tables, or brings them up to date, under a lock: any number of processes may
    /// do it at once, and again. On SQLite the file is switched to write-ahead logging.
    ///
    /// Runs on a connection of its own, as the user of `pool`. For a migration tool of your own
    /// there is [`script`](crate::script).
    pub async fn migrate(&self, pool: &Pool<DB>) -> Result<(), Error> {
        let driver = SqlxDriver::like(pool);
        Ok(outbox_sql::migrate(&driver, &self.names, self.partitions).await?)
    }

    /// Opens an outbox that has been migrated, and refuses one of another version. The number of
    /// partitions comes from the database.
    pub async fn open(self, pool: &Pool<DB>) -> Result<Outbox<DB>, Error> {
        let driver = SqlxDriver::like(pool);
        let info = inspect(&driver, &self.names).await?;
        check_packet(&self.limits, &info)?;
        let Self { limits, waker, .. } = self;
        let Info { names, partitions, .. } = info;
        Ok(Outbox(Arc::new(Inner { driver, names, partitions, limits, waker })))
    }
}

impl<DB> fmt::Debug for OutboxBuilder<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxBuilder")
            .field("names", &self.names)
            .field("partitions", &self.partitions)
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

/// A message that the limits let through must fit what the server takes: it closes the connection
/// on a larger one, and the user's transaction with it.
fn check_packet(limits: &Limits, info: &Info) -> Result<(), StoreError> {
    // Several messages go into statements of 2 MiB, counted before headers are escaped.
    let needed = (limits.payload + limits.header_bytes * 2 + 64 * 1024).max(4 << 20) as u64;
    match info.largest_statement {
        Some(largest) if largest < needed => Err(StoreError::new(
            StoreErrorKind::Schema,
            format!(
                "the server's max_allowed_packet is {largest} bytes, the limits on messages need \
                 {needed}: raise the one or lower the others"
            ),
        )),
        _ => Ok(()),
    }
}
