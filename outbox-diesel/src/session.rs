//! Statements over any connection of Diesel's.

use std::fmt;
use std::future::Future;

use async_trait::async_trait;
use diesel::result::{Error as DieselError, QueryResult};
use outbox_sql::{DriverError, OpenOutbox, OutboxConfig, Row, Session, Statement, Type, Value};

use crate::database::backend::Backend as _;
use crate::error::{driver_error, is_of_the_connection};
use crate::{Database, Error};

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

/// How long to wait for another writer where the connection wouldn't, in milliseconds.
const PATIENCE: i64 = 5000;

/// How often a migration is tried again.
const RETRIES: u32 = 20;

/// Keeps the codes and messages of the last error, which nothing but another error changes.
/// Warnings may come before it, and what the server makes of an error in a subquery after it.
const KEEP: &str = "GET DIAGNOSTICS @outbox_errors = NUMBER; \
                    GET DIAGNOSTICS CONDITION 1 \
                    @outbox_code1 = MYSQL_ERRNO, @outbox_said1 = MESSAGE_TEXT; \
                    GET DIAGNOSTICS CONDITION @outbox_errors \
                    @outbox_code2 = MYSQL_ERRNO, @outbox_said2 = MESSAGE_TEXT";

const KEPT: &str = "SELECT CAST(@outbox_code1 AS SIGNED), @outbox_said1, \
                    CAST(@outbox_code2 AS SIGNED), @outbox_said2";

#[expect(private_bounds, reason = "users have connections of Diesel's only")]
impl<C: Link> DieselSession<C> {
    /// Migrates, and waits for other writers however the connection is set.
    pub(crate) async fn migrate(&mut self, config: &OutboxConfig) -> Result<(), Error> {
        let impatient = self.wait().await?;
        let mut tries = 0;
        let migrated = loop {
            let migrated = config.migrate_on(self, C::Database::DIALECT).await;
            match (&migrated, C::Database::BEGIN) {
                // While another process creates the same file, switching it to write-ahead logging
                // is refused without waiting. Beginning to write waits.
                (Err(error), Some(begin)) if error.is_retryable() && tries < RETRIES => {
                    let _ = self.run(&format!("{begin}; ROLLBACK")).await;
                    tries += 1;
                }
                _ => break migrated,
            }
        };
        self.restore(impatient).await;
        migrated
    }

    /// Opens, and waits for other writers however the connection is set.
    pub(crate) async fn open(&mut self, config: OutboxConfig) -> Result<OpenOutbox, Error> {
        let impatient = self.wait().await?;
        let open = OpenOutbox::open_on(self, C::Database::DIALECT, config).await;
        self.restore(impatient).await;
        open
    }

    /// The setting, if by it the connection wouldn't wait for another writer: until it is restored,
    /// it does.
    async fn wait(&mut self) -> Result<Option<&'static str>, Error> {
        let Some(setting) = C::Database::BUSY_TIMEOUT else { return Ok(None) };
        let text = setting.to_owned();
        let ask = Statement { text, binds: Vec::new(), columns: &[Type::Int], cached: false };
        let failed = |error| Error::database("setting how long to wait", error);
        let rows = self.query(&ask).await.map_err(failed)?;
        if !matches!(rows.first().map(Vec::as_slice), Some([Value::Int(0)])) {
            return Ok(None);
        }
        self.run(&format!("{setting} = {PATIENCE}")).await.map_err(failed)?;
        Ok(Some(setting))
    }

    async fn restore(&mut self, impatient: Option<&'static str>) {
        if let Some(setting) = impatient {
            // At worst the connection stays patient.
            let _ = self.run(&format!("{setting} = 0")).await;
        }
    }

    /// Sorts an error. Of a server that keeps the code of its last error it is asked for: Diesel
    /// keeps it to itself.
    pub(crate) async fn sorted<T>(&mut self, done: QueryResult<T>) -> Result<T, DriverError> {
        let error = match done {
            Ok(done) => return Ok(done),
            // On a connection that broke, the rollback after the commit fails, too.
            Err(DieselError::RollbackErrorOnCommit { commit_error, .. }) => *commit_error,
            Err(error) => error,
        };
        let asked = match &error {
            DieselError::DatabaseError(kind, said)
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
            text: KEPT.to_owned(),
            binds: Vec::new(),
            columns: &[Type::Int, Type::Text, Type::Int, Type::Text],
            cached: true,
        };
        let row = self.connection.query(&kept).await?.pop().unwrap_or_default();
        Ok(row.chunks(2).find_map(|kept| match kept {
            [Value::Int(code), Value::Text(said)] if **said == *message => Some(code.to_string()),
            _ => None,
        }))
    }
}
