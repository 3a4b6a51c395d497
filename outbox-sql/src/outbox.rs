//! What the outboxes of all ORMs have in common.

use std::fmt;
use std::sync::Arc;

use outbox_core::{IntoMessage, Limits, Message, Partition, StoreError, StoreErrorKind, Waker};

use crate::enqueue::enqueue_statements;
use crate::pooler::Connection;
use crate::statement::outside_of_one;
use crate::{
    Dialect, Driver, DriverError, Error, Info, Names, Probe, Session, SqlStore, StoreConfig,
    inspect, inspect_on, migrate, migrate_on,
};

/// Settings of an outbox.
#[derive(Debug, Clone)]
pub struct OutboxConfig {
    /// Where the tables are: `outbox` and what begins with it, unless set.
    pub names: Names,
    /// How many partitions a migration gives the outbox: 16 unless set. It can't be changed later,
    /// and is the most relays that can be busy at once.
    pub partitions: u16,
    /// What messages may contain.
    pub limits: Limits,
    /// Wakes relays of this process; several outboxes may share one.
    pub waker: Waker,
}

impl Default for OutboxConfig {
    fn default() -> Self {
        Self {
            names: Names::default(),
            partitions: Partition::DEFAULT_COUNT,
            limits: Limits::default(),
            waker: Waker::new(),
        }
    }
}

impl OutboxConfig {
    /// An outbox under these names.
    pub fn named(names: Names) -> Self {
        Self { names, ..Self::default() }
    }

    /// Migrates over connections of a driver's.
    pub async fn migrate<D: Driver>(&self, driver: &D) -> Result<(), Error> {
        Ok(migrate(driver, &self.names, self.partitions).await?)
    }

    /// Migrates on a connection of the user's, outside of any transaction.
    pub async fn migrate_on<S: Session>(
        &self,
        session: &mut S,
        dialect: Dialect,
    ) -> Result<(), Error> {
        Ok(migrate_on(session, dialect, &self.names, self.partitions).await?)
    }
}

/// An open outbox, without the connection that an ORM's own outbox enqueues on. Cheap to clone.
#[derive(Clone)]
pub struct OpenOutbox(Arc<Inner>);

struct Inner {
    dialect: Dialect,
    names: Names,
    partitions: u16,
    limits: Limits,
    waker: Waker,
    knows_transactions: bool,
    pooled: bool,
}

impl OpenOutbox {
    /// Opens an outbox that has been migrated, over connections of a driver's. The number of
    /// partitions comes from the database.
    pub async fn open<D: Driver>(driver: &D, config: OutboxConfig) -> Result<Self, Error> {
        let info = inspect(driver, &config.names).await?;
        Self::new(driver.dialect(), config, info)
    }

    /// Opens it on a connection of the user's.
    pub async fn open_on<S: Session>(
        session: &mut S,
        dialect: Dialect,
        config: OutboxConfig,
    ) -> Result<Self, Error> {
        let info = inspect_on(session, dialect, &config.names).await?;
        Self::new(dialect, config, info)
    }

    fn new(dialect: Dialect, config: OutboxConfig, info: Info) -> Result<Self, Error> {
        check_packet(&config.limits, &info)?;
        let OutboxConfig { limits, waker, .. } = config;
        let Info { names, partitions, knows_transactions, pooled, .. } = info;
        let inner = Inner { dialect, names, partitions, limits, waker, knows_transactions, pooled };
        Ok(Self(Arc::new(inner)))
    }

    /// The message that `message` is or makes, checked against this outbox's limits.
    pub fn message(&self, message: impl IntoMessage) -> Result<Message, Error> {
        Ok(message.into_message(&self.0.limits)?)
    }

    /// All of them, or the error of the first that is refused.
    pub fn messages(
        &self,
        messages: impl IntoIterator<Item = impl IntoMessage>,
    ) -> Result<Vec<Message>, Error> {
        messages.into_iter().map(|message| self.message(message)).collect()
    }

    /// How many partitions the outbox has.
    pub fn partitions(&self) -> u16 {
        self.0.partitions
    }

    /// Where its tables are. Unless the schema was named, it is the one in which the outbox was
    /// found when it was opened: another connection's `search_path` changes nothing.
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// What messages may contain.
    pub fn limits(&self) -> &Limits {
        &self.0.limits
    }

    /// Wakes relays of this process; committing an outbox's own transaction does it by itself. Give
    /// it to the relay, and wake it after committing by other means.
    pub fn waker(&self) -> &Waker {
        &self.0.waker
    }

    /// Between the driver's connections and PostgreSQL is a pooler that gives each transaction
    /// another connection, as was seen when the outbox was opened. Nothing is prepared for more than
    /// one transaction then. Whoever opens an outbox on a connection of his own isn't told.
    pub fn is_pooled(&self) -> bool {
        self.0.pooled
    }

    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        self.0.dialect
    }

    /// Opens a store for a relay; its names are this outbox's whatever `config` says.
    pub async fn store<D: Driver>(
        &self,
        driver: D,
        config: StoreConfig,
    ) -> Result<SqlStore<D>, Error> {
        let config = StoreConfig { names: self.0.names.clone(), ..config };
        Ok(SqlStore::open(driver, config).await?)
    }

    /// For adapters: stores [checked](Self::messages) messages in their order, in the transaction
    /// that `session` is in.
    ///
    /// Whether there is one, the statement itself finds out on MariaDB, and on PostgreSQL if
    /// something has been written in it before. Otherwise the server is asked, as it is everywhere
    /// if there is nothing to store.
    pub async fn write<S: Session>(
        &self,
        session: &mut S,
        messages: &[Message],
        known: Known,
    ) -> Result<(), Error> {
        let Inner { dialect, names, partitions, knows_transactions, .. } = &*self.0;
        let session = &mut self.lent(session);
        if messages.is_empty() {
            return ask(session, Probe::of(*dialect), known).await;
        }
        if *dialect != Dialect::Postgres {
            self.check_open(session, known).await?;
        }
        let failed = |error| self.write_error(ENQUEUEING, error);
        let guarded = *knows_transactions;
        for statement in enqueue_statements(*dialect, names, *partitions, messages, guarded) {
            let written = session.execute(&statement).await.map_err(failed)?;
            if written == 0 && *dialect == Dialect::Postgres {
                ask(session, Probe::writing(), known).await?;
                // A pool may have answered with another connection, which was in a transaction.
                if session.execute(&statement).await.map_err(failed)? == 0 {
                    return Err(Error::TransactionEnded);
                }
            }
        }
        Ok(())
    }

    /// Some databases end a transaction by themselves, and the ORM doesn't hear of it. Asks, unless
    /// the statement that comes next will tell.
    pub(crate) async fn check_open<S: Session>(
        &self,
        session: &mut S,
        known: Known,
    ) -> Result<(), Error> {
        let dialect = self.0.dialect;
        let told = known == Known::Transaction && dialect == Dialect::Postgres;
        if told || self.0.knows_transactions {
            return Ok(());
        }
        ask(session, Probe::of(dialect), known).await
    }

    /// What it means that a statement failed which [`check_open`](Self::check_open) let through.
    pub(crate) fn write_error(&self, context: &'static str, error: DriverError) -> Error {
        if self.0.knows_transactions && outside_of_one(&error) {
            return Error::TransactionEnded;
        }
        Error::database(context, error)
    }

    /// A connection of the user's, which is in a transaction.
    pub(crate) fn lent<'s, S: Session>(&self, session: &'s mut S) -> Connection<&'s mut S> {
        Connection::lent(session, self.0.pooled)
    }

    /// MariaDB: statements can be [guarded](crate::statement::Sql::bind_guarded).
    pub(crate) fn knows_transactions(&self) -> bool {
        self.0.knows_transactions
    }
}

/// What an ORM knows of the transaction in which it writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Known {
    /// Nothing: it was begun by hand, or not at all. The session may even be a pool, whose
    /// statements each have a connection of their own.
    Nothing,
    /// That it has begun one.
    Transaction,
}

const ENQUEUEING: &str = "enqueueing";

async fn ask<S: Session>(session: &mut S, probe: Probe, known: Known) -> Result<(), Error> {
    let answer = session.run(probe.text).await;
    let open = probe.is_open(answer);
    if open.map_err(|error| Error::database("asking whether a transaction is open", error))? {
        return Ok(());
    }
    if let Some(fails) = probe.fails_outside
        && known == Known::Transaction
    {
        // The ORM can hear of the end from a statement that fails because of it. Diesel does.
        let _ = session.run(fails).await;
    }
    Err(Error::TransactionEnded)
}

impl fmt::Debug for OpenOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("names", &self.0.names)
            .field("partitions", &self.0.partitions)
            .field("limits", &self.0.limits)
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
