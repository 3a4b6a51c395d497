//! What sqlx's errors mean.

use outbox_sql::{Dialect, DriverError};
use sqlx::error::{DatabaseError, ErrorKind};

/// Sorts an error of sqlx's; `code` gives the database's own code.
pub(crate) fn driver_error(
    dialect: Dialect,
    error: sqlx::Error,
    code: fn(&dyn DatabaseError) -> Option<String>,
) -> DriverError {
    match error {
        sqlx::Error::Database(error) => {
            let constraint = match error.kind() {
                ErrorKind::Other => None,
                kind => Some(format!("{kind:?}")),
            };
            DriverError::said(dialect, code(&*error), error.message(), constraint.as_deref())
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
