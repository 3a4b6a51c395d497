//! The store's own connections.

use std::fmt;

use async_trait::async_trait;
use outbox_sql::{Dialect, Driver, DriverError, Row, Session, Statement};
use sqlx::{ConnectOptions, Pool};

use crate::database::backend::Options;
use crate::{Database, Error};

/// Opens connections like a pool's, but not from it: a pool that the service has exhausted can't
/// starve its relay.
pub struct SqlxDriver<DB: Database> {
    options: Options<DB>,
}

impl<DB: Database> SqlxDriver<DB> {
    /// Connects to where `pool` does, as the same user and with the same options. The pool's own
    /// hooks don't run on these connections: what its `after_connect` sets, such as a role or a
    /// `search_path`, is not set here. Set it in the options, or for the user in the database.
    pub fn like(pool: &Pool<DB>) -> Self {
        Self { options: DB::own(&pool.connect_options()) }
    }

    /// Connects to `url`, which is in sqlx's form.
    pub fn from_url(url: &str) -> Result<Self, Error> {
        // What sqlx says could quote parts of the URL, hence a password.
        let options: Options<DB> = url.parse().map_err(|_| Error::Url)?;
        Ok(Self { options: DB::own(&options) })
    }
}

impl<DB: Database> Clone for SqlxDriver<DB> {
    fn clone(&self) -> Self {
        Self { options: self.options.clone() }
    }
}

/// Not the options: they hold a password.
impl<DB: Database> fmt::Debug for SqlxDriver<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqlxDriver").field("database", &DB::NAME).finish_non_exhaustive()
    }
}

#[async_trait]
impl<DB: Database> Driver for SqlxDriver<DB> {
    type Session = SqlxSession<DB>;

    fn dialect(&self) -> Dialect {
        DB::DIALECT
    }

    async fn connect(&self) -> Result<SqlxSession<DB>, DriverError> {
        self.options.connect().await.map(SqlxSession).map_err(DB::error)
    }
}

/// One connection of a store's.
pub struct SqlxSession<DB: Database>(DB::Connection);

impl<DB: Database> fmt::Debug for SqlxSession<DB> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqlxSession").field(&DB::NAME).finish()
    }
}

#[async_trait]
impl<DB: Database> Session for SqlxSession<DB> {
    async fn run(&mut self, text: &str) -> Result<(), DriverError> {
        DB::run(&mut self.0, text).await
    }

    async fn execute(&mut self, statement: &Statement) -> Result<u64, DriverError> {
        DB::execute(&mut self.0, statement).await
    }

    async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, DriverError> {
        DB::query(&mut self.0, statement).await
    }
}
