//! What sqlx's errors mean.

use std::borrow::Borrow;
use std::error::Error;

use outbox_sql::{Dialect, DriverError};
use sqlx::error::{DatabaseError, ErrorKind};

/// Sorts an error of sqlx's, owned or shared, for an ORM that stands on sqlx.
pub fn driver_error(
    dialect: Dialect,
    error: impl Borrow<sqlx::Error> + Into<Box<dyn Error + Send + Sync>>,
) -> DriverError {
    match error.borrow() {
        sqlx::Error::Database(error) => {
            let constraint = match error.kind() {
                ErrorKind::Other => None,
                kind => Some(format!("{kind:?}")),
            };
            DriverError::said(dialect, code(&**error), error.message(), constraint.as_deref())
        }
        sqlx::Error::Io(_)
        | sqlx::Error::Tls(_)
        | sqlx::Error::Protocol(_)
        | sqlx::Error::WorkerCrashed
        | sqlx::Error::PoolTimedOut
        | sqlx::Error::PoolClosed
        | sqlx::Error::BeginFailed => DriverError::connection(error),
        _ => DriverError::other(error),
    }
}

/// The database's own code: SQLite's is the extended one.
fn code(error: &dyn DatabaseError) -> Option<String> {
    // The SQLSTATE that sqlx calls the code is too coarse on MySQL to tell conflicts.
    #[cfg(feature = "mysql")]
    if let Some(error) = error.try_downcast_ref::<sqlx::mysql::MySqlDatabaseError>() {
        return Some(error.number().to_string());
    }
    error.code().map(Into::into)
}
