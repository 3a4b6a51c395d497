//! From a driver's error to the store's.

use outbox_core::{StoreError, StoreErrorKind};

use crate::{DriverError, DriverErrorKind};

/// Why an operation stopped.
#[derive(Debug)]
pub(crate) enum Failure {
    Driver(DriverError),
    Store(StoreError),
}

impl From<DriverError> for Failure {
    fn from(error: DriverError) -> Self {
        Self::Driver(error)
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl Failure {
    /// Other transactions came between; doing it again may help.
    pub(crate) fn conflict(what: &'static str) -> Self {
        Self::Driver(DriverError::conflict(what))
    }

    pub(crate) fn is_conflict(&self) -> bool {
        matches!(self, Self::Driver(error) if error.kind() == DriverErrorKind::Conflict)
    }

    /// The error to return for an operation called `what`.
    pub(crate) fn into_store_error(self, what: &str) -> StoreError {
        match self {
            Self::Store(error) => error,
            Self::Driver(error) => {
                let kind = match error.kind() {
                    DriverErrorKind::Connection => StoreErrorKind::Unavailable,
                    DriverErrorKind::Conflict => StoreErrorKind::Conflict,
                    DriverErrorKind::Other => StoreErrorKind::Other,
                };
                StoreError::with_source(kind, format!("{what} failed"), error)
            }
        }
    }
}

/// What a database holds that it can't hold, or doesn't hold that it must.
pub(crate) fn schema(context: impl Into<String>) -> Failure {
    Failure::Store(StoreError::new(StoreErrorKind::Schema, context))
}

/// The server is a standby or set to read only. That may pass, by a fail-over.
pub(crate) fn standby() -> Failure {
    let context = "the database refuses writes: it is a standby, or set to read only";
    Failure::Store(StoreError::new(StoreErrorKind::Unavailable, context))
}
