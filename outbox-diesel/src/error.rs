//! What Diesel's errors mean.

#[cfg(feature = "async")]
use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error};
use outbox_sql::DriverError;

use crate::Database;

/// Sorts an error of Diesel's; `asked` is the code that the server gave when it was asked.
pub(crate) fn driver_error<DB: Database>(error: Error, asked: Option<String>) -> DriverError {
    let (kind, said) = match error {
        Error::DatabaseError(kind, said) => (kind, said),
        error => return DriverError::other(error),
    };
    let message = said.message();
    if is_of_the_connection(kind) {
        return DriverError::connection(message.to_owned());
    }
    let code = asked.or_else(|| DB::code(kind, message).map(Into::into));
    let constraint = is_of_a_constraint(kind).then(|| format!("{kind:?}"));
    if code.is_none() && constraint.is_none() {
        return DriverError::other(
            "Diesel doesn't tell the code of this error, and its message could quote a value: see \
             the database's log",
        );
    }
    DriverError::said(DB::DIALECT, code, message, constraint.as_deref())
}

/// Sorts an error of connecting.
#[cfg(feature = "async")]
pub(crate) fn connection_error<DB: Database>(error: ConnectionError) -> DriverError {
    match error {
        ConnectionError::CouldntSetupConfiguration(error) => driver_error::<DB>(error, None),
        // What Diesel says could quote parts of the URL, hence a password.
        ConnectionError::InvalidConnectionUrl(_) | ConnectionError::InvalidCString(_) => {
            DriverError::other("the database URL can't be read")
        }
        error => DriverError::connection(error),
    }
}

pub(crate) fn is_of_the_connection(kind: DatabaseErrorKind) -> bool {
    matches!(kind, DatabaseErrorKind::ClosedConnection | DatabaseErrorKind::UnableToSendCommand)
}

fn is_of_a_constraint(kind: DatabaseErrorKind) -> bool {
    matches!(
        kind,
        DatabaseErrorKind::UniqueViolation
            | DatabaseErrorKind::ForeignKeyViolation
            | DatabaseErrorKind::RestrictViolation
            | DatabaseErrorKind::NotNullViolation
            | DatabaseErrorKind::CheckViolation
            | DatabaseErrorKind::ExclusionViolation
    )
}
