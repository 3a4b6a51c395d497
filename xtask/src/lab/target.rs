//! The databases that are measured: an empty outbox in each, for one run.

use std::env;
use std::sync::Arc;

use anyhow::{Context, Result};
use clap::ValueEnum;
use outbox_core::{Admin, Message, Store};
use outbox_sql::{Driver as _, Identifier, Names, Session as _, SqlStore, StoreConfig};
use outbox_sqlx::{Database, Outbox, OutboxConfig, SqlxDriver};
use sqlx::pool::PoolOptions;
use sqlx::{MySql, Pool, Postgres, Sqlite};

use super::counting::{Count, Counting};

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Target {
    Sqlite,
    Postgres,
    PostgresNewest,
    Mariadb,
}

impl Target {
    pub(super) const ALL: [Self; 4] =
        [Self::Sqlite, Self::Postgres, Self::PostgresNewest, Self::Mariadb];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sqlite => "SQLite",
            Self::Postgres => "PostgreSQL 15",
            Self::PostgresNewest => "PostgreSQL 18",
            Self::Mariadb => "MariaDB 10.11",
        }
    }

    fn url(self, directory: &tempfile::TempDir) -> String {
        let of = |variable: &str, default: &str| {
            env::var(variable).unwrap_or_else(|_| default.to_owned())
        };
        let postgres = "postgres://outbox:outbox@127.0.0.1";
        match self {
            Self::Sqlite => format!("sqlite:{}?mode=rwc", directory.path().join("b.db").display()),
            Self::Postgres => of("OUTBOX_TEST_POSTGRES", &format!("{postgres}:54315/outbox")),
            Self::PostgresNewest => {
                of("OUTBOX_TEST_POSTGRES_NEWEST", &format!("{postgres}:54318/outbox"))
            }
            Self::Mariadb => {
                of("OUTBOX_TEST_MARIADB", "mysql://outbox:outbox@127.0.0.1:33061/outbox")
            }
        }
    }

    /// Empties and prepares an outbox of its own, for `rows` messages.
    pub(super) async fn prepare(self) -> Result<Box<dyn Subject>> {
        let directory = tempfile::tempdir()?;
        let url = self.url(&directory);
        let hint = || format!("{} does not answer; try `cargo xtask services up`", self.name());
        Ok(match self {
            Self::Sqlite => Box::new(Prepared::<Sqlite>::new(&url, directory).await?),
            Self::Mariadb => {
                Box::new(Prepared::<MySql>::new(&url, directory).await.with_context(hint)?)
            }
            Self::Postgres | Self::PostgresNewest => {
                Box::new(Prepared::<Postgres>::new(&url, directory).await.with_context(hint)?)
            }
        })
    }
}

/// A database under measurement.
#[async_trait::async_trait]
pub(super) trait Subject: Send + Sync {
    /// Commits messages.
    async fn enqueue(&self, messages: &[Message]) -> Result<()>;

    /// Where it is, as sqlx takes it.
    fn url(&self) -> &str;

    /// The outbox's.
    fn names(&self) -> &Names;

    /// Executes statements that need no values.
    async fn execute(&self, text: &str) -> Result<()>;

    /// Wakes this process's relays on commit.
    fn waker(&self) -> &outbox_core::Waker;

    /// A store, and the count of its statements.
    async fn store(&self) -> Result<(Arc<dyn Store>, Arc<dyn Admin>, Count)>;
}

struct Prepared<DB: Database> {
    url: String,
    pool: Pool<DB>,
    outbox: Outbox<DB>,
    names: Names,
    _directory: tempfile::TempDir,
}

impl<DB: Database> Prepared<DB> {
    async fn new(url: &str, directory: tempfile::TempDir) -> Result<Self> {
        let pool = PoolOptions::<DB>::new().max_connections(4).connect(url).await?;
        // A name of its own each time: what an earlier run left behind can't be measured again.
        let prefix = format!("bench_{:x}", uuid::Uuid::new_v4().as_fields().0);
        let names = Names { schema: None, prefix: Identifier::new(&prefix)? };
        let config = OutboxConfig::named(names.clone());
        Outbox::migrate_with(&pool, &config).await?;
        let outbox = Outbox::open_with(&pool, config).await?;
        Ok(Self { url: url.to_owned(), pool, outbox, names, _directory: directory })
    }
}

#[async_trait::async_trait]
impl<DB: Database> Subject for Prepared<DB> {
    async fn enqueue(&self, messages: &[Message]) -> Result<()> {
        let mut transaction = self.outbox.begin(&self.pool).await?;
        for message in messages {
            transaction.emit(message.clone())?;
        }
        Ok(transaction.commit().await?)
    }

    fn url(&self) -> &str {
        &self.url
    }

    fn names(&self) -> &Names {
        &self.names
    }

    async fn execute(&self, text: &str) -> Result<()> {
        Ok(SqlxDriver::like(&self.pool).connect().await?.run(text).await?)
    }

    fn waker(&self) -> &outbox_core::Waker {
        self.outbox.waker()
    }

    async fn store(&self) -> Result<(Arc<dyn Store>, Arc<dyn Admin>, Count)> {
        let count = Count::default();
        let driver = Counting { driver: SqlxDriver::like(&self.pool), count: count.clone() };
        let config = StoreConfig { names: self.names.clone(), ..StoreConfig::default() };
        let store = Arc::new(SqlStore::open(driver, config).await?);
        Ok((store.clone(), store, count))
    }
}
