//! What an ORM adapter implements.

use std::error::Error;

use async_trait::async_trait;

use crate::{Dialect, Row, Statement};

/// Opens connections. They are the store's own: a pool that the user has exhausted must not keep a
/// relay from renewing its leases.
#[async_trait]
pub trait Driver: Send + Sync {
    /// A connection.
    type Session: Session;

    /// Which SQL it speaks.
    fn dialect(&self) -> Dialect;

    /// Opens a new connection.
    async fn connect(&self) -> Result<Self::Session, DriverError>;
}

/// One connection. Dropping it closes it, and the server rolls back what was open. It need not
/// survive a call that was dropped midway or that failed with [`DriverErrorKind::Connection`]:
/// the store doesn't use it again.
#[async_trait]
pub trait Session: Send {
    /// Runs text without binds and ignores what comes back: `BEGIN`, `COMMIT`, data definition.
    /// On PostgreSQL the text may hold several statements.
    async fn run(&mut self, text: &str) -> Result<(), DriverError>;

    /// Executes a statement and returns how many rows it changed.
    async fn execute(&mut self, statement: &Statement) -> Result<u64, DriverError>;

    /// Executes a statement and returns its rows, each with the statement's columns.
    async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, DriverError>;
}

#[async_trait]
impl<S: Session> Session for &mut S {
    async fn run(&mut self, text: &str) -> Result<(), DriverError> {
        (**self).run(text).await
    }

    async fn execute(&mut self, statement: &Statement) -> Result<u64, DriverError> {
        (**self).execute(statement).await
    }

    async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, DriverError> {
        (**self).query(statement).await
    }
}

/// A database's error, sorted.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.describe())]
pub struct DriverError {
    kind: DriverErrorKind,
    code: Option<String>,
    #[source]
    source: Box<dyn Error + Send + Sync>,
}

/// What kind of error a database returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DriverErrorKind {
    /// The database can't be reached, or the connection broke.
    Connection,
    /// A deadlock, serialization failure, lock time-out or busy database: trying again may help.
    Conflict,
    /// Anything else.
    Other,
}

impl DriverError {
    /// An error that the database returned with a code of its own (see [`Dialect::classify`]).
    pub fn database(
        dialect: Dialect,
        code: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let code = code.into();
        Self { kind: dialect.classify(&code), code: Some(code), source: source.into() }
    }

    /// What the database returned as text, if its code says that it quotes no value: of the
    /// `message` of a refused `constraint` only its name is kept.
    pub fn said(
        dialect: Dialect,
        code: Option<String>,
        message: &str,
        constraint: Option<&str>,
    ) -> Self {
        let said = match (&code, constraint) {
            // A duplicate's message quotes it on MySQL.
            (_, Some(kind)) => format!("a constraint refused a row ({kind})"),
            (Some(code), None) if !dialect.quotes_no_value(code) => {
                "its message isn't shown, as it may quote a value".to_owned()
            }
            (_, None) => message.to_owned(),
        };
        let said = DatabaseMessage(said);
        match code {
            Some(code) => Self::database(dialect, code, said),
            None => Self::other(said),
        }
    }

    /// The connection couldn't be made, or broke.
    pub fn connection(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: DriverErrorKind::Connection, code: None, source: source.into() }
    }

    pub(crate) fn conflict(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: DriverErrorKind::Conflict, code: None, source: source.into() }
    }

    /// Any other error.
    pub fn other(source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind: DriverErrorKind::Other, code: None, source: source.into() }
    }

    /// Of what kind it is.
    pub fn kind(&self) -> DriverErrorKind {
        self.kind
    }

    /// The database's own code, if it gave one.
    pub fn code(&self) -> Option<&str> {
        self.code.as_deref()
    }

    fn describe(&self) -> String {
        let what = match self.kind {
            DriverErrorKind::Connection => "the database can't be reached",
            DriverErrorKind::Conflict => "conflict with another transaction",
            DriverErrorKind::Other => "the database refused",
        };
        match self.code.as_deref() {
            Some(code @ ("26000" | "42P05")) => format!(
                "{what} (code {code}): a pooler in between doesn't keep prepared statements with \
                 their connection; see PostgreSQL behind a pooler in the README of outbox-sqlx"
            ),
            Some(code) => format!("{what} (code {code})"),
            None => what.to_owned(),
        }
    }
}

/// What a database said, without the details in which some quote the row.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseMessage(String);

#[cfg(test)]
mod tests {
    use super::*;

    /// Clients that prepare statements by themselves, such as those of a connection that is lent.
    #[test]
    fn a_statement_that_is_lost_or_there_already_tells_of_a_pooler() {
        for code in ["26000", "42P05"] {
            let error = DriverError::database(Dialect::Postgres, code, "it says so");
            assert!(error.to_string().contains("a pooler in between"), "{error}");
        }
    }
}
