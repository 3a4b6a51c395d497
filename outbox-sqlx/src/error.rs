//! What can fail.

use outbox_core::{InvalidMessage, StoreError, StoreErrorKind};
use outbox_sql::{DriverError, DriverErrorKind};

/// An error of this crate. It shows neither payloads nor passwords.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message can't be stored. Nothing was written, and the transaction stays usable.
    #[error("the message can't be stored")]
    Message(#[from] InvalidMessage),
    /// Enqueueing outside a transaction: the message would be stored though the change that it
    /// tells of may fail. Nothing was written.
    #[error(
        "enqueueing needs a transaction of sqlx's; in one begun by hand, use \
         `enqueue_in_raw_transaction`"
    )]
    NoTransaction,
    /// The transaction isn't open any more, or never was: the server has rolled it back by itself,
    /// as after a deadlock on MySQL or a full disk on SQLite, or MySQL has committed it before data
    /// definition. Nothing was enqueued. Whether to do it again depends on which it was.
    #[error(
        "the database has ended the transaction: it was rolled back after an error, or committed \
         by data definition"
    )]
    TransactionEnded,
    /// The outbox isn't there, has another version, or can't be used.
    #[error("the outbox can't be used")]
    Outbox(#[from] StoreError),
    /// The database URL can't be read.
    #[error("the database URL can't be read")]
    Url,
    /// The database failed or refused.
    #[error("{context} failed")]
    Database {
        /// What was being done.
        context: &'static str,
        /// What the database said.
        source: DriverError,
    },
}

impl Error {
    /// Whether the same transaction, done again from its start, may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Message(_) | Self::NoTransaction | Self::TransactionEnded | Self::Url => false,
            Self::Outbox(error) => {
                matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Conflict)
            }
            Self::Database { source, .. } => source.kind() != DriverErrorKind::Other,
        }
    }

    pub(crate) fn database(context: &'static str, source: DriverError) -> Self {
        Self::Database { context, source }
    }
}

/// What a database said, without the details in which some quote the row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseMessage(String);

/// Sorts an error of sqlx's; `code` gives the database's own code.
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
pub(crate) fn driver_error(
    dialect: outbox_sql::Dialect,
    error: sqlx::Error,
    code: fn(&dyn sqlx::error::DatabaseError) -> Option<String>,
) -> DriverError {
    match error {
        sqlx::Error::Database(error) => {
            let code = code(&*error);
            // A duplicate's message quotes it on MySQL.
            let message = match error.kind() {
                _ if code.as_deref().is_some_and(|code| quotes_values(dialect, code)) => {
                    "a value is refused, and the message would quote it".to_owned()
                }
                sqlx::error::ErrorKind::Other => error.message().to_owned(),
                kind => format!("a constraint refused a row ({kind:?})"),
            };
            let message = DatabaseMessage(message);
            match code {
                Some(code) => DriverError::database(dialect, code, message),
                None => DriverError::other(message),
            }
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::BeginFailed => DriverError::connection(error),
        error => DriverError::other(error),
    }
}

/// PostgreSQL's data exceptions and what a trigger raises; MySQL's incorrect values and JSON.
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
fn quotes_values(dialect: outbox_sql::Dialect, code: &str) -> bool {
    match dialect {
        outbox_sql::Dialect::Postgres => code.starts_with("22") || code == "P0001",
        outbox_sql::Dialect::MySql => {
            matches!(code, "1292" | "1366" | "1367" | "1411" | "1644" | "3140")
        }
        // What a trigger raises.
        outbox_sql::Dialect::Sqlite => code == "1811",
    }
}
