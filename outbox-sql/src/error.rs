//! What can fail where messages are enqueued, whatever the ORM.

use outbox_core::{InvalidMessage, StoreError, StoreErrorKind};

use crate::{DriverError, DriverErrorKind};

/// An error of an ORM's outbox. It shows neither payloads nor passwords. What the database says is
/// shown where its code says that it quotes none: a trigger of yours that quotes a row must not
/// raise that with a code of the server's own for a lack of rights, a conflict and the like.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The message can't be stored. Nothing was written, and the transaction stays usable.
    #[error("the message can't be stored")]
    Message(#[from] InvalidMessage),
    /// Enqueueing outside a transaction: the message would be stored though the change that it
    /// tells of may fail. Nothing was written.
    #[error(
        "this needs a transaction that the ORM knows of; in one begun by hand, enqueue with \
         `enqueue_in_raw_transaction`"
    )]
    NoTransaction,
    /// A received message can't be noted so. Nothing was written.
    #[error("the {part} of a received message must have 1 to {most} bytes, none of them NUL")]
    Receipt {
        /// Which part of it.
        part: &'static str,
        /// The most bytes.
        most: usize,
    },
    /// The transaction isn't open any more, or never was: the server has rolled it back by itself,
    /// as after a deadlock on MySQL or a full disk on SQLite, or MySQL has committed it before data
    /// definition, or a statement has ended it, such as a raw `COMMIT`. Nothing was enqueued.
    /// Whether to do it again depends on which it was.
    #[error(
        "the transaction has ended: the database rolled it back after an error, or it was \
         committed by data definition or by hand"
    )]
    TransactionEnded,
    /// The connection broke while the transaction was being committed: it may have been, or not.
    /// Who does it again without looking may do it twice.
    #[error("whether the transaction was committed is unknown")]
    CommitUnknown(#[source] DriverError),
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
    /// The database failed while doing what `context` says.
    pub fn database(context: &'static str, source: DriverError) -> Self {
        Self::Database { context, source }
    }

    /// The commit failed: it is told apart whether that can be known.
    pub fn committing(source: DriverError) -> Self {
        match source.kind() {
            DriverErrorKind::Connection => Self::CommitUnknown(source),
            _ => Self::database("committing", source),
        }
    }

    /// Whether the same transaction, done again from its start, may succeed.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Message(_)
            | Self::Receipt { .. }
            | Self::NoTransaction
            | Self::TransactionEnded
            | Self::CommitUnknown(_)
            | Self::Url => false,
            Self::Outbox(error) => {
                matches!(error.kind(), StoreErrorKind::Unavailable | StoreErrorKind::Conflict)
            }
            Self::Database { source, .. } => source.kind() != DriverErrorKind::Other,
        }
    }
}
