//! Poolers that give each transaction another connection to the server, as PgBouncer does in its
//! transaction mode.
//!
//! Clients prepare a statement in one round trip and execute it in the next: outside of a
//! transaction that may be on another of the server's connections, where there is none of that
//! name, or somebody else's. So behind such a pooler every statement runs in a transaction, and
//! none is kept for another one.

use async_trait::async_trait;
use outbox_core::StoreError;

use crate::failure::Failure;
use crate::open::number;
use crate::slot::{Slot, connect};
use crate::statement::Sql;
use crate::{Dialect, Driver, DriverError, Row, Session, Statement, StoreConfig};

/// A connection, to the server itself or to a pooler.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    session: S,
    pooled: bool,
    in_transaction: bool,
}

impl<S: Session> Connection<S> {
    /// A connection of the store's own.
    pub(crate) fn new(session: S, pooled: bool) -> Self {
        Self { session, pooled, in_transaction: false }
    }

    pub(crate) fn is_pooled(&self) -> bool {
        self.pooled
    }

    /// One that is in a transaction of the user's.
    pub(crate) fn lent(session: S, pooled: bool) -> Self {
        Self { session, pooled, in_transaction: true }
    }
}

/// In a transaction if there is none yet, and never prepared for another one.
macro_rules! in_a_transaction {
    ($self:ident, $method:ident, $statement:ident) => {{
        if !$self.pooled {
            return $self.session.$method($statement).await;
        }
        let once = Statement { cached: false, ..$statement.clone() };
        if $self.in_transaction {
            return $self.session.$method(&once).await;
        }
        $self.session.run("BEGIN").await?;
        let done = $self.session.$method(&once).await;
        let end = if done.is_ok() { "COMMIT" } else { "ROLLBACK" };
        let ended = $self.session.run(end).await;
        let done = done?;
        ended.map(|()| done)
    }};
}

#[async_trait]
impl<S: Session> Session for Connection<S> {
    async fn run(&mut self, text: &str) -> Result<(), DriverError> {
        let done = self.session.run(text).await;
        if text.starts_with("BEGIN") {
            self.in_transaction = done.is_ok();
        } else if text == "COMMIT" || text == "ROLLBACK" {
            self.in_transaction = false;
        }
        done
    }

    async fn execute(&mut self, statement: &Statement) -> Result<u64, DriverError> {
        in_a_transaction!(self, execute, statement)
    }

    async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, DriverError> {
        in_a_transaction!(self, query, statement)
    }
}

/// As many slots, for connections of whom it is known what is in between.
pub(crate) async fn slots<D: Driver>(
    driver: &D,
    config: &StoreConfig,
    count: usize,
) -> Result<Vec<Slot<D::Session>>, StoreError> {
    if driver.dialect() != Dialect::Postgres {
        return Ok((0..count).map(|_| Slot::new(false)).collect());
    }
    let failed = |error: DriverError| Failure::from(error).into_store_error("connecting");
    let (mut one, mut other) = (
        connect(driver, config).await.map_err(failed)?,
        connect(driver, config).await.map_err(failed)?,
    );
    let asked = are_shared(&mut one, &mut other).await;
    let pooled = asked.map_err(|failure| failure.into_store_error("connecting"))?;
    if pooled {
        tracing::info!(
            outbox = %config.names,
            "a pooler in between gives each transaction another connection: nothing is prepared \
             for more than one"
        );
    }
    let connected = [one, other].map(|session| Slot::holding(Connection::new(session, pooled)));
    let others = std::iter::repeat_with(|| Slot::new(pooled));
    Ok(connected.into_iter().chain(others).take(count).collect())
}

/// Whether the server has other connections than the driver: two of them are one, or one of them
/// becomes another. Each asks twice, as other clients of a pooler come in between.
async fn are_shared<S: Session>(one: &mut S, other: &mut S) -> Result<bool, Failure> {
    let mut seen = [None; 4];
    for round in seen.chunks_mut(2) {
        round[0] = process(one).await?;
        round[1] = process(other).await?;
    }
    let [one, other, one_again, other_again] = seen;
    Ok(one == other || one != one_again || other != other_again)
}

/// The process of the server that a connection ends at.
async fn process<S: Session>(session: &mut S) -> Result<Option<i64>, Failure> {
    let ask = Sql::new(Dialect::Postgres, "SELECT pg_backend_pid()::bigint");
    number(&mut Connection::new(session, true), ask).await
}
