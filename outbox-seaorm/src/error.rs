//! What SeaORM's errors mean.

use outbox_core::Reason;
use outbox_sql::{Dialect, DriverError};
use sea_orm::DbErr;
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
use {outbox_sqlx::driver_error, sea_orm::RuntimeErr};

use crate::Error;

/// Sorts an error of SeaORM's.
#[cfg_attr(
    not(any(feature = "postgres", feature = "mysql", feature = "sqlite")),
    expect(unused_variables)
)]
pub(crate) fn sort(dialect: Dialect, error: DbErr) -> DriverError {
    match error {
        #[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
        DbErr::Conn(RuntimeErr::SqlxError(error))
        | DbErr::Exec(RuntimeErr::SqlxError(error))
        | DbErr::Query(RuntimeErr::SqlxError(error)) => driver_error(dialect, error),
        error @ (DbErr::ConnectionAcquire(_) | DbErr::Conn(_)) => DriverError::connection(error),
        error => DriverError::other(error),
    }
}

/// `error` with its causes as an error of SeaORM's, for hooks and closures that return only those.
/// It shows neither payloads nor passwords.
#[expect(clippy::needless_pass_by_value, reason = "it stands in a `map_err`")]
pub fn db_err(error: Error) -> DbErr {
    DbErr::Custom(Reason::of(&error).to_string())
}
