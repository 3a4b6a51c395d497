//! The store's own connections.

use std::borrow::BorrowMut;
use std::fmt;
use std::marker::PhantomData;

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
        self.options.connect().await.map(SqlxSession::new).map_err(DB::error)
    }
}

/// One connection, a store's own or one that a user lends.
pub struct SqlxSession<DB: Database, C = <DB as sqlx::Database>::Connection> {
    connection: C,
    database: PhantomData<fn() -> DB>,
}

impl<DB: Database, C: BorrowMut<DB::Connection>> SqlxSession<DB, C> {
    pub(crate) fn new(connection: C) -> Self {
        Self { connection, database: PhantomData }
    }
}

impl<DB: Database, C> fmt::Debug for SqlxSession<DB, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SqlxSession").field(&DB::NAME).finish()
    }
}

#[async_trait]
impl<DB: Database, C: BorrowMut<DB::Connection> + Send> Session for SqlxSession<DB, C> {
    async fn run(&mut self, text: &str) -> Result<(), DriverError> {
        DB::run(self.connection.borrow_mut(), text).await
    }

    async fn execute(&mut self, statement: &Statement) -> Result<u64, DriverError> {
        DB::execute(self.connection.borrow_mut(), statement).await
    }

    async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, DriverError> {
        DB::query(self.connection.borrow_mut(), statement).await
    }
}
