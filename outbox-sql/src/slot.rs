//! A connection that is opened when needed and kept only while it is clean.

use std::time::Duration;

use async_trait::async_trait;
use outbox_core::StoreError;
use tokio::sync::Mutex;

use crate::failure::Failure;
use crate::pooler::Connection;
use crate::{Dialect, Driver, DriverError, DriverErrorKind, Session, StoreConfig};

/// One thing done on one connection, which can be done again after a conflict.
#[async_trait]
pub(crate) trait Operation: Sync {
    type Output: Send;
    /// For errors: "fetching", "settling".
    const NAME: &'static str;

    async fn run<S: Session>(&self, session: &mut S) -> Result<Self::Output, Failure>;
}

/// Keeps one connection.
///
/// While an operation runs, it owns the connection; only one that has ended well, or whose
/// transaction was rolled back, puts it back. So a call that is dropped midway closes it, and no
/// later one can find an open transaction or half-read answers.
#[derive(Debug)]
pub(crate) struct Slot<S> {
    session: Mutex<Option<Connection<S>>>,
    pooled: bool,
}

impl<S: Session> Slot<S> {
    /// Without a connection yet. Whether a pooler is in between, [`slots`](crate::pooler::slots)
    /// finds out.
    pub(crate) fn new(pooled: bool) -> Self {
        Self { session: Mutex::new(None), pooled }
    }

    pub(crate) fn is_pooled(&self) -> bool {
        self.pooled
    }

    pub(crate) fn holding(connection: Connection<S>) -> Self {
        Self { pooled: connection.is_pooled(), session: Mutex::new(Some(connection)) }
    }

    pub(crate) async fn run<D, O>(
        &self,
        driver: &D,
        config: &StoreConfig,
        operation: &O,
    ) -> Result<O::Output, StoreError>
    where
        D: Driver<Session = S>,
        O: Operation,
    {
        let mut slot = self.session.lock().await;
        let mut retries = 0;
        loop {
            let (failure, doing) = match self.connected(&mut slot, driver, config).await {
                Err(error) => (Failure::from(error), "connecting"),
                Ok(mut session) => match operation.run(&mut session).await {
                    Ok(output) => {
                        *slot = Some(session);
                        return Ok(output);
                    }
                    Err(failure) => {
                        if failure.is_conflict() && roll_back(&mut session).await {
                            *slot = Some(session);
                        }
                        (failure, O::NAME)
                    }
                },
            };
            if !failure.is_conflict() || retries >= config.conflict_retries {
                return Err(failure.into_store_error(doing));
            }
            retries += 1;
            tokio::time::sleep(backoff(retries)).await;
        }
    }

    async fn connected<D: Driver<Session = S>>(
        &self,
        slot: &mut Option<Connection<S>>,
        driver: &D,
        config: &StoreConfig,
    ) -> Result<Connection<S>, DriverError> {
        match slot.take() {
            Some(connection) => Ok(connection),
            None => Ok(Connection::new(connect(driver, config).await?, self.pooled)),
        }
    }
}

/// A conflict leaves a healthy connection, but perhaps an open transaction, and on autocommit or
/// where `BEGIN` itself was refused none. SQLite then refuses to roll back, which is as good.
async fn roll_back<S: Session>(session: &mut S) -> bool {
    match session.run("ROLLBACK").await {
        Ok(()) => true,
        Err(error) => error.kind() != DriverErrorKind::Connection,
    }
}

/// A server that doesn't answer must not keep a relay waiting for what the system's own time-out
/// is, which can be minutes.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Up to 5, 10, 20, … milliseconds, at least half of it.
fn backoff(retry: u32) -> Duration {
    let most = 5_000_u64 << retry.min(8).saturating_sub(1);
    Duration::from_micros(fastrand::u64(most / 2..=most))
}

/// Opens a connection and gives it the settings that statements here rely on. PostgreSQL gets
/// none: behind a pooler the next statement may run on another server connection.
pub(crate) async fn connect<D: Driver>(
    driver: &D,
    config: &StoreConfig,
) -> Result<D::Session, DriverError> {
    let connected = tokio::time::timeout(CONNECT_TIMEOUT, driver.connect()).await;
    let mut session =
        connected.map_err(|_| DriverError::connection("no connection within 10 seconds"))??;
    match driver.dialect() {
        Dialect::Postgres => {}
        Dialect::MySql => {
            let seconds = config.lock_timeout.as_millis().div_ceil(1000).max(1);
            session.run("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED").await?;
            session.run(&format!("SET SESSION innodb_lock_wait_timeout = {seconds}")).await?;
            session.run("SET SESSION autocommit = 1").await?;
            // As on PostgreSQL, see `begin_write`. MySQL has no such time-out.
            match session.run("SET SESSION idle_transaction_timeout = 10").await {
                Err(error) if error.code() == Some(UNKNOWN_VARIABLE) => {}
                set => set?,
            }
        }
        Dialect::Sqlite => {
            // It is a 32-bit integer, and one that is too large counts as zero.
            let millis = config.lock_timeout.as_millis().min(i32::MAX as u128);
            session.run(&format!("PRAGMA busy_timeout = {millis}")).await?;
            // It stays set in the file, and is nothing to do from the second time on.
            session.run("PRAGMA journal_mode = WAL").await?;
        }
    }
    Ok(session)
}

/// MySQL's error for a setting that it doesn't know.
const UNKNOWN_VARIABLE: &str = "1193";

/// Begins a transaction that writes.
pub(crate) async fn begin_write<S: Session>(
    session: &mut S,
    dialect: Dialect,
    lock_timeout: Duration,
) -> Result<(), DriverError> {
    match dialect {
        Dialect::Postgres => {
            // To the server, a time-out of zero is none.
            let millis = lock_timeout.as_millis().max(1);
            // A relay that vanishes in mid-transaction must not keep its locks until TCP notices.
            let text = format!(
                "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL lock_timeout = '{millis}ms'; \
                 SET LOCAL idle_in_transaction_session_timeout = '10s'"
            );
            session.run(&text).await
        }
        Dialect::MySql => session.run("START TRANSACTION").await,
        // A deferred transaction that turns into a writing one fails at once if somebody wrote
        // meanwhile (SQLITE_BUSY_SNAPSHOT), whatever the busy time-out.
        Dialect::Sqlite => session.run("BEGIN IMMEDIATE").await,
    }
}
