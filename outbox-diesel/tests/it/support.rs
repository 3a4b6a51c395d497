//! A fresh outbox in each database.

use std::env;
use std::time::Duration;

use diesel::connection::{LoadConnection, SimpleConnection};
use diesel::{Connection as _, MysqlConnection, PgConnection, SqliteConnection};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{AsyncConnection, AsyncMysqlConnection, AsyncPgConnection};
use outbox_core::{SettleRequest, Store as _, StoredRow};
use outbox_diesel::{
    Database, DieselDriver, FromUrl, Identifier, Names, Outbox, OutboxConfig, Store, sync,
};
use outbox_sql::{Driver as _, Session as _, Statement, Type, Value};
pub(crate) use outbox_testkit::adapter::{
    behind_proxy, fetch_all, lease_request, message, relay, row_ref,
};
use tempfile::TempDir;
use uuid::Uuid;

pub(crate) type AsyncSqlite = SyncConnectionWrapper<SqliteConnection>;

/// Makes a test of the async function `$test`, generic over the connection, for each database.
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

/// An outbox in a place of its own.
pub(crate) struct Bed<C: Kind> {
    pub(crate) url: String,
    pub(crate) names: Names,
    pub(crate) outbox: Outbox<C::Backend>,
    pub(crate) store: Store<C>,
    _directory: Option<TempDir>,
}

/// What tests need to know of a database, by its asynchronous connection.
pub(crate) trait Kind: FromUrl + AsyncConnection<Backend: Database> {
    /// Diesel's own connection to it.
    type Blocking: LoadConnection<Backend = Self::Backend>;

    const QUOTE: char;
    const CLEANUP: &'static [&'static str];
    /// What makes a connection wait for another writer.
    const PATIENCE: Option<&'static str> = None;
}

impl Kind for AsyncPgConnection {
    type Blocking = PgConnection;
    const QUOTE: char = '"';
    const CLEANUP: &'static [&'static str] =
        &["SET lock_timeout = '2s'", "DROP SCHEMA IF EXISTS \"{}\" CASCADE"];
}

impl Kind for AsyncMysqlConnection {
    type Blocking = MysqlConnection;
    const QUOTE: char = '`';
    const CLEANUP: &'static [&'static str] =
        &["SET lock_wait_timeout = 2", "DROP DATABASE IF EXISTS `{}`"];
}

impl Kind for AsyncSqlite {
    type Blocking = SqliteConnection;
    const QUOTE: char = '"';
    const CLEANUP: &'static [&'static str] = &[];
    const PATIENCE: Option<&'static str> = Some("PRAGMA busy_timeout = 20000");
}

pub(crate) async fn postgres() -> Bed<AsyncPgConnection> {
    server("OUTBOX_TEST_POSTGRES", "postgres://outbox:outbox@127.0.0.1:54315/outbox").await
}

pub(crate) async fn newest_postgres() -> Bed<AsyncPgConnection> {
    server("OUTBOX_TEST_POSTGRES_NEWEST", "postgres://outbox:outbox@127.0.0.1:54318/outbox").await
}

pub(crate) async fn mariadb() -> Bed<AsyncMysqlConnection> {
    server("OUTBOX_TEST_MARIADB", "mysql://outbox:outbox@127.0.0.1:33061/outbox").await
}

async fn server<C: Kind>(variable: &str, default: &str) -> Bed<C> {
    let url = env::var(variable).unwrap_or_else(|_| default.to_owned());
    if let Err(error) = C::establish(&url).await {
        panic!("these tests need {variable}: run `cargo xtask services up` ({error})");
    }
    let schema = format!("t_{}", Uuid::now_v7().simple());
    let names = Names { schema: Some(Identifier::new(&schema).unwrap()), ..Names::default() };
    Bed::new(url, names, None).await
}

pub(crate) async fn sqlite() -> Bed<AsyncSqlite> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("test.db").display().to_string();
    Bed::new(path, Names::default(), Some(directory)).await
}

impl<C: Kind> Bed<C> {
    /// With four partitions, so that tests can name them all.
    async fn new(url: String, names: Names, directory: Option<TempDir>) -> Self {
        let config = || OutboxConfig { partitions: 4, ..OutboxConfig::named(names.clone()) };
        let mut connection = connect::<C>(&url).await;
        Outbox::migrate_with(&mut connection, &config()).await.unwrap();
        let outbox = Outbox::open_with(&mut connection, config()).await.unwrap();
        let store = outbox.store(DieselDriver::from_url(&url).unwrap()).await.unwrap();
        Self { url, names, outbox, store, _directory: directory }
    }

    pub(crate) async fn connect(&self) -> C {
        connect(&self.url).await
    }

    pub(crate) fn block(&self) -> C::Blocking {
        let mut connection = C::Blocking::establish(&self.url).unwrap();
        if let Some(patience) = C::PATIENCE {
            SimpleConnection::batch_execute(&mut connection, patience).unwrap();
        }
        connection
    }

    pub(crate) fn sync_outbox(&self) -> sync::Outbox<C::Backend> {
        let config = OutboxConfig::named(self.names.clone());
        sync::Outbox::open_with(&mut self.block(), config).unwrap()
    }

    /// The quoted name of the table with that suffix.
    pub(crate) fn table(&self, suffix: &str) -> String {
        self.named(&format!("{}{suffix}", self.names.prefix))
    }

    pub(crate) fn named(&self, table: &str) -> String {
        let quote = C::QUOTE;
        match &self.names.schema {
            Some(schema) => format!("{quote}{schema}{quote}.{quote}{table}{quote}"),
            None => format!("{quote}{table}{quote}"),
        }
    }

    pub(crate) fn driver(&self) -> DieselDriver<C> {
        DieselDriver::from_url(&self.url).unwrap()
    }

    /// Everything pending, in the order of its numbers.
    pub(crate) async fn all(&self) -> Vec<StoredRow> {
        let mut rows = self.store.fetch(&fetch_all()).await.unwrap().rows;
        rows.sort_unstable_by_key(|row| row.seq);
        rows
    }

    pub(crate) async fn keys(&self) -> Vec<String> {
        let rows = self.all().await;
        rows.iter().map(|row| row.message.key().unwrap_or("").to_owned()).collect()
    }

    pub(crate) async fn deliver(&self, rows: &[StoredRow]) {
        let delivered = rows.iter().map(row_ref).collect();
        let request = SettleRequest { relay: relay(), delivered, verdicts: vec![] };
        self.store.settle(&request).await.unwrap();
    }

    pub(crate) async fn execute(&self, sql: &str) {
        self.connect().await.batch_execute(sql).await.unwrap();
    }

    pub(crate) async fn number(&self, sql: &str) -> i64 {
        let columns = &[Type::Int];
        let statement = Statement { text: sql.into(), binds: vec![], columns, cached: false };
        let mut session = self.driver().connect().await.unwrap();
        match session.query(&statement).await.unwrap().remove(0).remove(0) {
            Value::Int(number) => number,
            other => panic!("{other:?} is no number"),
        }
    }

    pub(crate) async fn count(&self, table: &str) -> i64 {
        self.number(&format!("SELECT count(*) FROM {table}")).await
    }
}

async fn connect<C: Kind>(url: &str) -> C {
    let mut connection = C::establish(url).await.unwrap();
    if let Some(patience) = C::PATIENCE {
        connection.batch_execute(patience).await.unwrap();
    }
    connection
}

impl<C: Kind> Drop for Bed<C> {
    /// Removes the schema, on a thread of its own as dropping can't wait on this one's runtime.
    fn drop(&mut self) {
        let Some(schema) = self.names.schema.clone() else { return };
        let url = self.url.clone();
        let cleaning = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = C::establish(&url).await.unwrap();
                for text in C::CLEANUP {
                    // What is left behind by a failed clean-up disturbs nobody.
                    let text = text.replace("{}", schema.as_str());
                    let _ = connection.batch_execute(&text).await;
                }
            });
        });
        let _ = cleaning.join();
    }
}

/// For the synchronous half.
#[expect(clippy::disallowed_methods, reason = "it stands for a service that blocks its thread")]
pub(crate) fn sleep(time: Duration) {
    std::thread::sleep(time);
}
