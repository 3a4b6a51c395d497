//! The outbox under test, in a database of its own.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use outbox_core::{Admin, Message, Store};
use outbox_sqlx::{Database, Error, Outbox, OutboxConfig};
use sqlx::pool::PoolOptions;
use sqlx::{Connection, Executor, MySql, Pool, Postgres, Sqlite};

/// What a writer does.
pub(super) struct Work {
    /// By it the ledger knows the transaction.
    pub(super) number: i64,
    pub(super) messages: Vec<Message>,
    /// The messages are inserted before the dwelling, and not just before the commit.
    pub(super) early: bool,
    /// How long the transaction stays open.
    pub(super) dwell: Duration,
    pub(super) commits: bool,
}

/// How a transaction has ended, as far as its writer knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Committed,
    RolledBack,
    Unknown,
}

/// A database with an outbox, and a ledger beside it.
#[async_trait]
pub(super) trait Place: Send + Sync {
    /// One transaction of a service, with a row of the ledger in it.
    async fn transact(&self, work: Work) -> Ended;

    async fn execute(&self, sql: &str) -> Result<()>;

    async fn numbers(&self, sql: &str) -> Result<Vec<i64>>;

    async fn text(&self, sql: &str) -> Result<String>;

    /// On connections of its own.
    async fn store(&self) -> Result<(Arc<dyn Store>, Arc<dyn Admin>)>;

    /// Holds all connections that the server has left, for so long. Returns how many those were.
    async fn take_connections(&self, hold: Duration, then: &(dyn Fn() + Sync)) -> Result<usize>;

    /// Holds the lock of a writer, for so long.
    async fn lock(&self, hold: Duration) -> Result<()>;
}

pub(super) struct Sqlx<DB: Database> {
    url: String,
    /// The service's.
    pool: Pool<DB>,
    /// Ours, to look on.
    own: Pool<DB>,
    outbox: Outbox<DB>,
}

/// What sqlx's traits can't be generic over.
#[async_trait]
pub(super) trait Kind: Database {
    async fn sql(connection: &mut Self::Connection, sql: &str) -> Result<(), sqlx::Error>;

    async fn column(pool: &Pool<Self>, sql: &str) -> Result<Vec<i64>, sqlx::Error>;

    async fn word(pool: &Pool<Self>, sql: &str) -> Result<String, sqlx::Error>;
}

macro_rules! kind {
    ($($database:ty),+) => {$(
        #[async_trait]
        impl Kind for $database {
            async fn sql(connection: &mut Self::Connection, sql: &str) -> Result<(), sqlx::Error> {
                connection.execute(sqlx::AssertSqlSafe(sql)).await.map(drop)
            }

            async fn column(pool: &Pool<Self>, sql: &str) -> Result<Vec<i64>, sqlx::Error> {
                sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_all(pool).await
            }

            async fn word(pool: &Pool<Self>, sql: &str) -> Result<String, sqlx::Error> {
                sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await
            }
        }
    )+};
}

kind!(Postgres, MySql, Sqlite);

/// A service that gives up soon, and one who looks on.
const CONNECTIONS: [u32; 2] = [8, 4];

impl<DB: Kind> Sqlx<DB> {
    /// Makes the outbox and the ledger.
    pub(super) async fn new(url: &str) -> Result<Self> {
        let pool = |connections| {
            let patience = Duration::from_secs(5);
            PoolOptions::<DB>::new().max_connections(connections).acquire_timeout(patience)
        };
        let [service, ours] = CONNECTIONS.map(pool);
        let (pool, own) = (service.connect(url).await?, ours.connect(url).await?);
        Outbox::migrate_with(&pool, &OutboxConfig::default()).await?;
        let outbox = Outbox::open(&pool).await?;
        let made = Self { url: url.to_owned(), pool, own, outbox };
        made.execute("CREATE TABLE ledger (number BIGINT PRIMARY KEY)").await?;
        Ok(made)
    }

    /// What goes wrong before the commit is asked for is rolled back for certain: the server does
    /// so when its client is gone.
    async fn attempt(&self, work: Work) -> Result<Ended, Error> {
        let mut tx = self.outbox.begin(&self.pool).await?;
        let entry = format!("INSERT INTO ledger VALUES ({})", work.number);
        if DB::sql(&mut tx, &entry).await.is_err() {
            return Ok(Ended::RolledBack);
        }
        if work.early {
            self.outbox.enqueue_all(&mut tx, &work.messages).await?;
        }
        tokio::time::sleep(work.dwell).await;
        if !work.early {
            for message in work.messages {
                tx.emit(message)?;
            }
        }
        if work.commits {
            tx.commit().await?;
            return Ok(Ended::Committed);
        }
        tx.rollback().await?;
        Ok(Ended::RolledBack)
    }
}

#[async_trait]
impl<DB: Kind> Place for Sqlx<DB> {
    async fn transact(&self, work: Work) -> Ended {
        match self.attempt(work).await {
            Ok(ended) => ended,
            Err(Error::CommitUnknown(_)) => Ended::Unknown,
            Err(_) => Ended::RolledBack,
        }
    }

    async fn execute(&self, sql: &str) -> Result<()> {
        Ok(DB::sql(&mut *self.own.acquire().await?, sql).await?)
    }

    async fn numbers(&self, sql: &str) -> Result<Vec<i64>> {
        Ok(DB::column(&self.own, sql).await?)
    }

    async fn text(&self, sql: &str) -> Result<String> {
        Ok(DB::word(&self.own, sql).await?)
    }

    async fn store(&self) -> Result<(Arc<dyn Store>, Arc<dyn Admin>)> {
        let store = Arc::new(self.outbox.store().await.context("the outbox has no store")?);
        Ok((store.clone(), store))
    }

    async fn take_connections(&self, hold: Duration, then: &(dyn Fn() + Sync)) -> Result<usize> {
        let mut taken = Vec::new();
        while taken.len() < MOST {
            match DB::Connection::connect(&self.url).await {
                Ok(connection) => taken.push(connection),
                Err(_) => break,
            }
        }
        then();
        tokio::time::sleep(hold).await;
        let count = taken.len();
        for connection in taken {
            // The server may have ended it.
            let _ = connection.close().await;
        }
        ensure!(count < MOST, "the server takes any number of connections");
        Ok(count)
    }

    async fn lock(&self, hold: Duration) -> Result<()> {
        let mut connection = self.own.acquire().await?;
        DB::sql(&mut connection, "BEGIN IMMEDIATE").await?;
        tokio::time::sleep(hold).await;
        Ok(DB::sql(&mut connection, "ROLLBACK").await?)
    }
}

/// More than the servers are told to allow.
const MOST: usize = 200;
