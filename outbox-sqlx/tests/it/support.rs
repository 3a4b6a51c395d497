//! A fresh outbox in each database.

use std::env;
use std::time::Duration;

use outbox_core::{
    Epoch, Fate, LeaseReport, Message, Reason, RelayId, SettleReport, SettleRequest, Store as _,
    StoredRow, Verdict,
};
use outbox_sqlx::{Database, Identifier, Names, Outbox, OutboxConfig, Store, StoreConfig};
pub(crate) use outbox_testkit::adapter::{
    behind_proxy, fetch_all, keys, lease_request, message, relay, row_ref,
};
use sqlx::{MySql, Pool, Postgres, Sqlite};
use tempfile::TempDir;
use uuid::Uuid;

/// Makes a test of the async function `$test`, generic over the database, for each of them.
macro_rules! for_every_database {
    ($($test:ident),+ $(,)?) => {
        mod postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::support::postgres().await).await;
            })+
        }
        mod newest_postgres {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::support::newest_postgres().await).await;
            })+
        }
        mod mariadb {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::support::mariadb().await).await;
            })+
        }
        mod sqlite {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($crate::support::sqlite().await).await;
            })+
        }
    };
}
pub(crate) use for_every_database;

/// A place for one outbox, which nobody else uses.
pub(crate) struct Place<DB: Kind> {
    pub(crate) pool: Pool<DB>,
    pub(crate) names: Names,
    pub(crate) url: String,
    _directory: Option<TempDir>,
}

/// An outbox in a place of its own.
pub(crate) struct Bed<DB: Kind> {
    pub(crate) place: Place<DB>,
    pub(crate) outbox: Outbox<DB>,
    pub(crate) store: Store<DB>,
}

/// What tests need to know of a database.
pub(crate) trait Kind: Database {
    const CLEANUP: &'static [&'static str];

    async fn sql(pool: &Pool<Self>, sql: String) -> Result<u64, sqlx::Error>;

    async fn ask(pool: &Pool<Self>, sql: String) -> Result<i64, sqlx::Error>;

    async fn try_raw(connection: &mut Self::Connection, sql: &str) -> Result<(), sqlx::Error>;

    async fn number(pool: &Pool<Self>, sql: String) -> i64 {
        Self::ask(pool, sql).await.unwrap()
    }

    async fn raw(connection: &mut Self::Connection, sql: &str) {
        Self::try_raw(connection, sql).await.unwrap();
    }
}

macro_rules! kind {
    ($database:ty, $cleanup:expr) => {
        impl Kind for $database {
            const CLEANUP: &'static [&'static str] = $cleanup;

            async fn sql(pool: &Pool<Self>, sql: String) -> Result<u64, sqlx::Error> {
                let done = sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(pool).await?;
                Ok(done.rows_affected())
            }

            async fn ask(pool: &Pool<Self>, sql: String) -> Result<i64, sqlx::Error> {
                sqlx::query_scalar(sqlx::AssertSqlSafe(sql)).fetch_one(pool).await
            }

            async fn try_raw(
                connection: &mut Self::Connection,
                sql: &str,
            ) -> Result<(), sqlx::Error> {
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(connection).await.map(|_| ())
            }
        }
    };
}

kind!(Postgres, &["SET lock_timeout = '2s'", "DROP SCHEMA IF EXISTS \"{}\" CASCADE"]);
kind!(MySql, &["SET lock_wait_timeout = 2", "DROP DATABASE IF EXISTS `{}`"]);
kind!(Sqlite, &[]);

/// By way of a pooler, whose settings let in only who asks for nothing that it doesn't know.
pub(crate) async fn pooled_place(url: &str) -> Place<Postgres> {
    let options: sqlx::postgres::PgConnectOptions = url.parse().unwrap();
    let pool = sqlx::pool::PoolOptions::new().max_connections(20);
    let pool = pool.connect_with(options.extra_float_digits(None)).await.unwrap();
    Place::new(pool, url.to_owned())
}

pub(crate) async fn postgres_place() -> Place<Postgres> {
    server("OUTBOX_TEST_POSTGRES", "postgres://outbox:outbox@127.0.0.1:54315/outbox").await
}

pub(crate) async fn newest_postgres_place() -> Place<Postgres> {
    server("OUTBOX_TEST_POSTGRES_NEWEST", "postgres://outbox:outbox@127.0.0.1:54318/outbox").await
}

pub(crate) async fn mariadb_place() -> Place<MySql> {
    server("OUTBOX_TEST_MARIADB", "mysql://outbox:outbox@127.0.0.1:33061/outbox").await
}

async fn server<DB: Kind>(variable: &str, default: &str) -> Place<DB> {
    let url = env::var(variable).unwrap_or_else(|_| default.to_owned());
    let pool = sqlx::pool::PoolOptions::new()
        .max_connections(40)
        .acquire_timeout(Duration::from_secs(20))
        .connect(&url)
        .await
        .unwrap_or_else(|error| {
            let name = DB::NAME;
            panic!("these tests need {name}, set by {variable}: run `cargo xtask services up` ({error})")
        });
    Place::new(pool, url)
}

impl<DB: Kind> Place<DB> {
    /// In a schema of its own.
    pub(crate) fn new(pool: Pool<DB>, url: String) -> Self {
        let schema = format!("t_{}", Uuid::now_v7().simple());
        let names = Names { schema: Some(Identifier::new(&schema).unwrap()), ..Names::default() };
        Self { pool, names, url, _directory: None }
    }
}

pub(crate) async fn sqlite_place() -> Place<Sqlite> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db");
    let (pool, url) = (sqlite_pool(&path).await, path.display().to_string());
    Place { pool, names: Names::default(), url, _directory: Some(directory) }
}

pub(crate) async fn sqlite_pool(path: &std::path::Path) -> Pool<Sqlite> {
    Pool::connect(&format!("sqlite:{}?mode=rwc", path.display())).await.unwrap()
}

pub(crate) async fn postgres() -> Bed<Postgres> {
    Bed::new(postgres_place().await).await
}

pub(crate) async fn newest_postgres() -> Bed<Postgres> {
    Bed::new(newest_postgres_place().await).await
}

pub(crate) async fn mariadb() -> Bed<MySql> {
    Bed::new(mariadb_place().await).await
}

pub(crate) async fn sqlite() -> Bed<Sqlite> {
    Bed::new(sqlite_place().await).await
}

impl<DB: Kind> Drop for Place<DB> {
    /// Removes the schema, on a thread of its own as dropping can't wait on this one's runtime.
    fn drop(&mut self) {
        let Some(schema) = self.names.schema.clone() else { return };
        let options = self.pool.connect_options();
        let cleaning = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let pool = Pool::<DB>::connect_lazy_with((*options).clone());
                // On one connection: how long it waits for who still uses the schema is a setting
                // of it. What is left behind by a failed clean-up disturbs nobody.
                let Ok(mut connection) = pool.acquire().await else { return };
                for text in DB::CLEANUP {
                    let text = text.replace("{}", schema.as_str());
                    let _ = DB::try_raw(&mut connection, &text).await;
                }
            });
        });
        let _ = cleaning.join();
    }
}

impl Bed<Sqlite> {
    /// In a file that has been migrated already.
    pub(crate) async fn at(pool: Pool<Sqlite>, directory: TempDir) -> Self {
        let url = directory.path().display().to_string();
        Self::new(Place { pool, names: Names::default(), url, _directory: Some(directory) }).await
    }
}

impl<DB: Kind> Bed<DB> {
    /// With four partitions, so that tests can name them all.
    pub(crate) async fn new(place: Place<DB>) -> Self {
        let config = || OutboxConfig { partitions: 4, ..OutboxConfig::named(place.names.clone()) };
        Outbox::<DB>::migrate_with(&place.pool, &config()).await.unwrap();
        let outbox = Outbox::<DB>::open_with(&place.pool, config()).await.unwrap();
        let store = outbox.store().await.unwrap();
        Self { place, outbox, store }
    }

    pub(crate) fn pool(&self) -> &Pool<DB> {
        &self.place.pool
    }

    /// The quoted name of the table with that suffix.
    pub(crate) fn table(&self, suffix: &str) -> String {
        table::<DB>(&self.place.names, suffix)
    }

    /// A table of the test's own, where those of the outbox are.
    pub(crate) fn beside(&self, name: &str) -> String {
        let prefix = Identifier::new(name).unwrap();
        table::<DB>(&Names { prefix, ..self.place.names.clone() }, "")
    }

    pub(crate) async fn store_with(&self, config: StoreConfig) -> Store<DB> {
        self.outbox.store_with(config).await.unwrap()
    }

    /// Enqueues messages with these keys, each in a transaction of its own, and returns them.
    pub(crate) async fn enqueue(&self, keys: &[&str]) -> Vec<Message> {
        let mut messages = Vec::new();
        for key in keys {
            let mut tx = self.outbox.begin(self.pool()).await.unwrap();
            messages.push(message(key));
            tx.emit(messages.last().unwrap().clone()).unwrap();
            tx.commit().await.unwrap();
        }
        messages
    }

    pub(crate) async fn lease(&self, relay: RelayId, take: &[u16]) -> LeaseReport {
        self.store.lease(&lease_request(relay, take)).await.unwrap()
    }

    /// Everything pending, in each partition from its start.
    pub(crate) async fn all(&self) -> Vec<StoredRow> {
        self.store.fetch(&fetch_all()).await.unwrap().rows
    }

    pub(crate) async fn deliver(&self, rows: &[StoredRow]) -> SettleReport {
        let delivered = rows.iter().map(row_ref).collect();
        let request = SettleRequest { relay: relay(), delivered, verdicts: vec![] };
        self.store.settle(&request).await.unwrap()
    }

    pub(crate) async fn decide(&self, relay: RelayId, verdicts: Vec<Verdict>) -> SettleReport {
        let request = SettleRequest { relay, delivered: vec![], verdicts };
        self.store.settle(&request).await.unwrap()
    }

    pub(crate) async fn count(&self, suffix: &str) -> i64 {
        DB::number(self.pool(), format!("SELECT count(*) FROM {}", self.table(suffix))).await
    }

    pub(crate) async fn execute(&self, sql: String) {
        DB::sql(self.pool(), sql).await.unwrap();
    }
}

pub(crate) fn table<DB: Kind>(names: &Names, suffix: &str) -> String {
    let quote = if DB::NAME == "MySQL" { '`' } else { '"' };
    let table = format!("{quote}{}{suffix}{quote}", names.prefix);
    match &names.schema {
        Some(schema) => format!("{quote}{schema}{quote}.{table}"),
        None => table,
    }
}

pub(crate) fn verdict(row: &StoredRow, epoch: Epoch, attempts: u32, fate: Fate) -> Verdict {
    Verdict { row: row_ref(row), epoch, attempts, error: Reason::new("it failed"), fate }
}

/// The epoch of the lease on `row`'s partition.
pub(crate) fn epoch(report: &LeaseReport, row: &StoredRow) -> Epoch {
    report.leases[usize::from(row.partition.0)].epoch
}
