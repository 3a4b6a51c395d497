//! Statements over any connection of Diesel's.

use std::fmt;
use std::future::Future;

use async_trait::async_trait;
use diesel::result::{Error, QueryResult};
use outbox_sql::{DriverError, Row, Session, Statement, Type, Value};

use crate::Database;
use crate::database::backend::Backend as _;
use crate::error::{driver_error, is_of_the_connection};

/// A connection, asynchronous or not.
pub(crate) trait Link: Send {
    type Database: Database;

    fn run(&mut self, text: &str) -> impl Future<Output = QueryResult<()>> + Send;

    fn execute(&mut self, statement: &Statement)
    -> impl Future<Output = QueryResult<usize>> + Send;

    fn query(
        &mut self,
        statement: &Statement,
    ) -> impl Future<Output = QueryResult<Vec<Row>>> + Send;
}

/// One connection, a store's own or one that a user lends.
pub struct DieselSession<C> {
    connection: C,
}

impl<C> DieselSession<C> {
    pub(crate) fn new(connection: C) -> Self {
        Self { connection }
    }
}

impl<C> fmt::Debug for DieselSession<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DieselSession").field(&std::any::type_name::<C>()).finish()
    }
}

#[async_trait]
impl<C: Link> Session for DieselSession<C> {
    async fn run(&mut self, text: &str) -> Result<(), DriverError> {
        let done = self.connection.run(text).await;
        self.sorted(done).await
    }

    async fn execute(&mut self, statement: &Statement) -> Result<u64, DriverError> {
        let done = self.connection.execute(statement).await;
        self.sorted(done).await.map(|rows| rows as u64)
    }

    async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, DriverError> {
        let done = self.connection.query(statement).await;
        self.sorted(done).await
    }
}

/// Keeps the last error's code and message, which nothing but another error changes.
const KEEP: &str = "GET DIAGNOSTICS @outbox_errors = NUMBER; \
                    GET DIAGNOSTICS CONDITION @outbox_errors \
                    @outbox_code = MYSQL_ERRNO, @outbox_said = MESSAGE_TEXT";

#[expect(private_bounds, reason = "users have connections of Diesel's only")]
impl<C: Link> DieselSession<C> {
    /// Sorts an error. Of a server that keeps the code of its last error it is asked for: Diesel
    /// keeps it to itself.
    pub(crate) async fn sorted<T>(&mut self, done: QueryResult<T>) -> Result<T, DriverError> {
        let error = match done {
            Ok(done) => return Ok(done),
            Err(error) => error,
        };
        let asked = match &error {
            Error::DatabaseError(kind, said)
                if C::Database::KEEPS_CODES && !is_of_the_connection(*kind) =>
            {
                match self.last_code(said.message()).await {
                    Ok(code) => code,
                    Err(_) => return Err(DriverError::connection("the connection broke")),
                }
            }
            _ => None,
        };
        Err(driver_error::<C::Database>(error, asked))
    }

    /// The code of the error that the server remembers, if it is the one that said `message`. An
    /// error here is the connection's.
    async fn last_code(&mut self, message: &str) -> QueryResult<Option<String>> {
        // Where there was no error, as in the client, there is none to keep.
        let _ = self.connection.run(KEEP).await;
        let kept = Statement {
            text: "SELECT CAST(@outbox_code AS SIGNED), @outbox_said".to_owned(),
            binds: Vec::new(),
            columns: &[Type::Int, Type::Text],
            cached: true,
        };
        let mut rows = self.connection.query(&kept).await?;
        Ok(match rows.pop().as_deref() {
            Some([Value::Int(code), Value::Text(said)]) if **said == *message => {
                Some(code.to_string())
            }
            _ => None,
        })
    }
}
