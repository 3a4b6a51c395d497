//! A fresh outbox in each database.

use std::env;
use std::path::Path;
use std::time::Duration;

use outbox_core::{Message, SettleRequest, Store as _, StoredRow};
use outbox_seaorm::{Identifier, Names, Outbox, OutboxConfig, Store};
pub(crate) use outbox_testkit::adapter::{
    behind_proxy, fetch_all, keys, lease_request, message, relay, row_ref,
};
use sea_orm::{
    ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, DbErr, Statement,
};
use tempfile::TempDir;
use uuid::Uuid;

/// Makes a test of the async function `$test` for each database.
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
pub(crate) struct Place {
    pub(crate) db: DatabaseConnection,
    pub(crate) url: String,
    pub(crate) names: Names,
    _directory: Option<TempDir>,
}

/// An outbox in a place of its own.
pub(crate) struct Bed {
    pub(crate) place: Place,
    pub(crate) outbox: Outbox,
    pub(crate) store: Store,
}

pub(crate) async fn postgres_place() -> Place {
    server("OUTBOX_TEST_POSTGRES", "postgres://outbox:outbox@127.0.0.1:54315/outbox").await
}

pub(crate) async fn newest_postgres_place() -> Place {
    server("OUTBOX_TEST_POSTGRES_NEWEST", "postgres://outbox:outbox@127.0.0.1:54318/outbox").await
}

pub(crate) async fn mariadb_place() -> Place {
    server("OUTBOX_TEST_MARIADB", "mysql://outbox:outbox@127.0.0.1:33061/outbox").await
}

async fn server(variable: &str, default: &str) -> Place {
    let url = env::var(variable).unwrap_or_else(|_| default.to_owned());
    let db = try_connect(&url, 20).await.unwrap_or_else(|error| {
        panic!("these tests need {variable}: run `cargo xtask services up` ({error})")
    });
    let schema = format!("t_{}", Uuid::now_v7().simple());
    let names = Names { schema: Some(Identifier::new(&schema).unwrap()), ..Names::default() };
    Place { db, url, names, _directory: None }
}

pub(crate) async fn sqlite_place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let url = sqlite_url(&directory.path().join("test.db"));
    let db = connect(&url, 10).await;
    Place { db, url, names: Names::default(), _directory: Some(directory) }
}

pub(crate) fn sqlite_url(path: &Path) -> String {
    format!("sqlite:{}?mode=rwc", path.display())
}

/// A pool of up to that many connections.
pub(crate) async fn connect(url: &str, connections: u32) -> DatabaseConnection {
    try_connect(url, connections).await.unwrap()
}

async fn try_connect(url: &str, connections: u32) -> Result<DatabaseConnection, DbErr> {
    let mut options = ConnectOptions::new(url);
    let patience = Duration::from_secs(20);
    options.max_connections(connections).acquire_timeout(patience).sqlx_logging(false);
    Database::connect(options).await
}

pub(crate) async fn postgres() -> Bed {
    Bed::new(postgres_place().await).await
}

pub(crate) async fn newest_postgres() -> Bed {
    Bed::new(newest_postgres_place().await).await
}

pub(crate) async fn mariadb() -> Bed {
    Bed::new(mariadb_place().await).await
}

pub(crate) async fn sqlite() -> Bed {
    Bed::new(sqlite_place().await).await
}

impl Drop for Place {
    /// Removes the schema, on a thread of its own as dropping can't wait on this one's runtime.
    fn drop(&mut self) {
        let Some(schema) = self.names.schema.clone() else { return };
        let (url, backend) = (self.url.clone(), self.db.get_database_backend());
        let cleaning = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let Ok(db) = try_connect(&url, 1).await else { return };
                let cleanup = match backend {
                    DbBackend::MySql => [
                        "SET lock_wait_timeout = 2".to_owned(),
                        format!("DROP DATABASE IF EXISTS `{schema}`"),
                    ],
                    _ => [
                        "SET lock_timeout = '2s'".to_owned(),
                        format!("DROP SCHEMA IF EXISTS \"{schema}\" CASCADE"),
                    ],
                };
                for text in cleanup {
                    // What is left behind by a failed clean-up disturbs nobody.
                    let _ = db.execute_unprepared(&text).await;
                }
            });
        });
        let _ = cleaning.join();
    }
}

impl Place {
    pub(crate) fn backend(&self) -> DbBackend {
        self.db.get_database_backend()
    }

    /// The quoted name of the table with that suffix.
    pub(crate) fn table(&self, suffix: &str) -> String {
        let quote = if self.backend() == DbBackend::MySql { '`' } else { '"' };
        let table = format!("{quote}{}{suffix}{quote}", self.names.prefix);
        match &self.names.schema {
            Some(schema) => format!("{quote}{schema}{quote}.{table}"),
            None => table,
        }
    }

    pub(crate) async fn create_schema(&self) {
        if let Some(schema) = &self.names.schema {
            let quote = if self.backend() == DbBackend::MySql { '`' } else { '"' };
            run(&self.db, &format!("CREATE SCHEMA {quote}{schema}{quote}")).await;
        }
    }

    /// A pool that works in this place without naming it.
    pub(crate) async fn inside(&self, connections: u32) -> DatabaseConnection {
        let Some(schema) = &self.names.schema else { return connect(&self.url, connections).await };
        let mut options = ConnectOptions::new(match self.backend() {
            DbBackend::MySql => {
                let (server, _) = self.url.rsplit_once('/').unwrap();
                format!("{server}/{schema}")
            }
            _ => self.url.clone(),
        });
        options.set_schema_search_path(schema.as_str()).max_connections(connections);
        Database::connect(options.sqlx_logging(false).to_owned()).await.unwrap()
    }
}

impl Bed {
    /// With four partitions, so that tests can name them all.
    pub(crate) async fn new(place: Place) -> Self {
        let config = || OutboxConfig { partitions: 4, ..OutboxConfig::named(place.names.clone()) };
        Outbox::migrate_with(&place.db, &config()).await.unwrap();
        let outbox = Outbox::open_with(&place.db, config()).await.unwrap();
        let store = outbox.store().await.unwrap();
        Self { place, outbox, store }
    }

    /// In a file that has been migrated already.
    pub(crate) async fn at(path: &Path, directory: TempDir) -> Self {
        let url = sqlite_url(path);
        let db = connect(&url, 10).await;
        Self::new(Place { db, url, names: Names::default(), _directory: Some(directory) }).await
    }

    pub(crate) fn db(&self) -> &DatabaseConnection {
        &self.place.db
    }

    pub(crate) fn table(&self, suffix: &str) -> String {
        self.place.table(suffix)
    }

    /// Enqueues messages with these keys, each in a transaction of its own, and returns them.
    pub(crate) async fn enqueue(&self, keys: &[&str]) -> Vec<Message> {
        let mut messages = Vec::new();
        for key in keys {
            let mut tx = self.outbox.begin(self.db()).await.unwrap();
            messages.push(message(key));
            tx.emit(messages.last().unwrap()).unwrap();
            tx.commit().await.unwrap();
        }
        messages
    }

    /// Everything pending, in each partition from its start.
    pub(crate) async fn all(&self) -> Vec<StoredRow> {
        self.store.fetch(&fetch_all()).await.unwrap().rows
    }

    /// Everything pending, in the order in which it got its numbers.
    pub(crate) async fn in_order(&self) -> Vec<StoredRow> {
        let mut rows = self.all().await;
        rows.sort_unstable_by_key(|row| row.seq);
        rows
    }

    pub(crate) async fn deliver(&self, rows: &[StoredRow]) {
        let delivered = rows.iter().map(row_ref).collect();
        let request = SettleRequest { relay: relay(), delivered, verdicts: vec![] };
        self.store.settle(&request).await.unwrap();
    }

    pub(crate) async fn count(&self, suffix: &str) -> i64 {
        number(self.db(), &format!("SELECT count(*) FROM {}", self.table(suffix))).await
    }

    pub(crate) async fn execute(&self, sql: &str) {
        run(self.db(), sql).await;
    }
}

pub(crate) async fn run<C: ConnectionTrait>(connection: &C, sql: &str) {
    connection.execute_unprepared(sql).await.unwrap();
}

pub(crate) async fn number<C: ConnectionTrait>(connection: &C, sql: &str) -> i64 {
    let statement = Statement::from_string(connection.get_database_backend(), sql);
    let row = connection.query_one_raw(statement).await.unwrap().unwrap();
    row.try_get_by_index(0).unwrap()
}
