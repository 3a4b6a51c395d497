//! The store's own connections.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::{Dialect, Driver, DriverError, Row, Session, Statement};
use outbox_sqlx::{Database, SqlxDriver};
use sea_orm::DatabaseConnection;

use crate::Error;

/// Opens connections like those of SeaORM's pool, but not from it: a pool that the service has
/// exhausted can't starve its relay.
#[derive(Clone)]
pub struct SeaOrmDriver(Arc<dyn Connect>);

impl SeaOrmDriver {
    /// Connects to where `db` does, as the same user and with the same options. What runs on the
    /// pool's connections when they are opened doesn't run on these: `after_connect`, and what sets
    /// `schema_search_path`. An [`Outbox`](crate::Outbox) finds the schema by itself.
    ///
    /// `db` must be a pool of sqlx's, and of a database that a feature of this crate names: no
    /// mock, no proxy.
    pub fn like(db: &DatabaseConnection) -> Result<Self, Error> {
        match &db.inner {
            #[cfg(feature = "postgres")]
            sea_orm::DatabaseConnectionType::SqlxPostgresPoolConnection(_) => {
                Ok(Self::of(SqlxDriver::like(db.get_postgres_connection_pool())))
            }
            #[cfg(feature = "mysql")]
            sea_orm::DatabaseConnectionType::SqlxMySqlPoolConnection(_) => {
                Ok(Self::of(SqlxDriver::like(db.get_mysql_connection_pool())))
            }
            #[cfg(feature = "sqlite")]
            sea_orm::DatabaseConnectionType::SqlxSqlitePoolConnection(_) => {
                Ok(Self::of(SqlxDriver::like(db.get_sqlite_connection_pool())))
            }
            other => {
                let context = format!(
                    "an outbox needs a connection to PostgreSQL, MySQL or SQLite by sqlx, and the \
                     feature of outbox-seaorm that is called so; this one is {other:?}"
                );
                Err(StoreError::new(StoreErrorKind::Other, context).into())
            }
        }
    }

    /// With no database among the features there is nothing to make one of.
    #[cfg_attr(
        not(any(feature = "postgres", feature = "mysql", feature = "sqlite")),
        expect(dead_code)
    )]
    fn of<DB: Database>(driver: SqlxDriver<DB>) -> Self {
        Self(Arc::new(driver))
    }
}

impl fmt::Debug for SeaOrmDriver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaOrmDriver").field("dialect", &self.0.dialect()).finish_non_exhaustive()
    }
}

#[async_trait]
impl Driver for SeaOrmDriver {
    type Session = SeaOrmSession;

    fn dialect(&self) -> Dialect {
        self.0.dialect()
    }

    async fn connect(&self) -> Result<SeaOrmSession, DriverError> {
        self.0.connect().await.map(SeaOrmSession)
    }
}

/// The drivers of sqlx's databases as one type: SeaORM knows its database at run time only.
#[async_trait]
trait Connect: Send + Sync {
    fn dialect(&self) -> Dialect;

    async fn connect(&self) -> Result<Box<dyn Session>, DriverError>;
}

#[async_trait]
impl<DB: Database> Connect for SqlxDriver<DB> {
    fn dialect(&self) -> Dialect {
        Driver::dialect(self)
    }

    async fn connect(&self) -> Result<Box<dyn Session>, DriverError> {
        Ok(Box::new(Driver::connect(self).await?))
    }
}

/// A connection of a store's own.
pub struct SeaOrmSession(Box<dyn Session>);

impl fmt::Debug for SeaOrmSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeaOrmSession").finish_non_exhaustive()
    }
}

#[async_trait]
impl Session for SeaOrmSession {
    async fn run(&mut self, text: &str) -> Result<(), DriverError> {
        self.0.run(text).await
    }

    async fn execute(&mut self, statement: &Statement) -> Result<u64, DriverError> {
        self.0.execute(statement).await
    }

    async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, DriverError> {
        self.0.query(statement).await
    }
}
