//! What a store can fail with.

use std::error::Error;

/// A store's failure: what failed, of what kind it is, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{context}")]
pub struct StoreError {
    kind: StoreErrorKind,
    context: String,
    #[source]
    source: Option<Box<dyn Error + Send + Sync>>,
}

/// Whether and when a repetition can help.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// The database can't be reached or the connection broke.
    Unavailable,
    /// A deadlock, serialization failure or lock time-out that persisted.
    Conflict,
    /// Tables are missing, of another version, or hold what they can't: repetition is useless.
    Schema,
    /// Anything else that the database refused.
    Other,
}

impl StoreError {
    /// An error without a cause below it.
    pub fn new(kind: StoreErrorKind, context: impl Into<String>) -> Self {
        Self { kind, context: context.into(), source: None }
    }

    /// An error with its cause.
    pub fn with_source(
        kind: StoreErrorKind,
        context: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self { kind, context: context.into(), source: Some(source.into()) }
    }

    /// Of what kind it is.
    pub fn kind(&self) -> StoreErrorKind {
        self.kind
    }
}
