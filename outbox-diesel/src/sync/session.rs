//! Statements over Diesel's own connections.

use diesel::connection::LoadConnection;
use diesel::result::QueryResult;
use futures::FutureExt as _;
use outbox_sql::{Row, Statement};

use crate::query::{SqlStatement, push_row};
use crate::session::Link;
use crate::{Database, DieselSession};

/// A connection that blocks: whatever waits for it never has to.
pub(crate) struct Blocking<'c, C>(&'c mut C);

pub(crate) fn session<C>(connection: &mut C) -> DieselSession<Blocking<'_, C>> {
    DieselSession::new(Blocking(connection))
}

/// The result of a future that waits for nothing but a [`Blocking`] connection.
pub(crate) fn ready<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("it waits for nothing")
}

impl<C: LoadConnection<Backend: Database>> Link for Blocking<'_, C> {
    type Database = C::Backend;

    async fn run(&mut self, text: &str) -> QueryResult<()> {
        self.0.batch_execute(text)
    }

    async fn execute(&mut self, statement: &Statement) -> QueryResult<usize> {
        self.0.execute_returning_count(&SqlStatement::new(statement))
    }

    async fn query(&mut self, statement: &Statement) -> QueryResult<Vec<Row>> {
        let mut rows = Vec::new();
        for row in self.0.load(SqlStatement::new(statement))? {
            push_row(&mut rows, &row?, statement)?;
        }
        Ok(rows)
    }
}
