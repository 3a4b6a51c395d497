//! An outbox of a test's own on each database.

use std::time::Duration;

use outbox::StoreUrl;
use outbox::sqlx::{Database, Identifier, Names, Outbox, OutboxConfig};
use outbox_testkit::servers::shared;
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Executor, IntoArguments, MySql, Pool, Postgres, Sqlite};
use tempfile::TempDir;
use uuid::Uuid;

/// The outbox, and how its application connects.
pub(crate) struct Bed<DB: Database> {
    url: String,
    pub(crate) pool: Pool<DB>,
    pub(crate) names: Names,
    /// What removes it.
    drop: Option<String>,
    _directory: Option<TempDir>,
}

pub(crate) async fn sqlite() -> Bed<Sqlite> {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("test.db").display());
    url.parse::<StoreUrl>().unwrap().migrate(16).await.unwrap();
    // Four writers and two relays on a busy machine may wait longer than the usual five seconds.
    let options: SqliteConnectOptions = url.parse().unwrap();
    let options = options.busy_timeout(Duration::from_mins(2));
    let pool = Pool::connect_with(options).await.unwrap();
    Bed { url, pool, names: Names::default(), drop: None, _directory: Some(directory) }
}

pub(crate) async fn postgres() -> Bed<Postgres> {
    in_schema("OUTBOX_TEST_POSTGRES", |schema| format!("DROP SCHEMA \"{schema}\" CASCADE")).await
}

pub(crate) async fn mariadb() -> Bed<MySql> {
    in_schema("OUTBOX_TEST_MARIADB", |schema| format!("DROP DATABASE `{schema}`")).await
}

/// A server that isn't there fails the test: one that is left out looks as if it had passed.
async fn in_schema<DB: Database>(variable: &str, drop: fn(&Identifier) -> String) -> Bed<DB> {
    let url = shared(variable);
    let pool = Pool::<DB>::connect(&url).await.unwrap_or_else(|error| {
        let name = DB::NAME;
        panic!("this test needs {name} ({variable}): run `cargo xtask services up` ({error})")
    });
    let schema = Identifier::new(&format!("t_{}", Uuid::now_v7().simple())).unwrap();
    let names = Names { schema: Some(schema.clone()), ..Names::default() };
    Outbox::migrate_with(&pool, &OutboxConfig::named(names.clone())).await.unwrap();
    Bed { url, pool, names, drop: Some(drop(&schema)), _directory: None }
}

impl<DB: Database> Bed<DB> {
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn config(&self) -> OutboxConfig {
        OutboxConfig::named(self.names.clone())
    }

    /// After a test that passed.
    pub(crate) async fn remove(self)
    where
        for<'c> &'c Pool<DB>: Executor<'c, Database = DB>,
        DB::Arguments: IntoArguments<DB>,
    {
        if let Some(drop) = self.drop {
            sqlx::raw_sql(sqlx::AssertSqlSafe(drop)).execute(&self.pool).await.unwrap();
        }
    }
}
