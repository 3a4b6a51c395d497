//! An outbox in a temporary file.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use outbox_sqlx::{Outbox, OutboxConfig, Store};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{Sqlite, SqlitePool};
use tempfile::TempDir;

/// An outbox on a SQLite database of a test's own, in a temporary file that goes with it. The
/// tables of the service are the test's to make.
///
/// It is sqlx's. A service with Diesel or SeaORM opens the [file](Self::file) as it opens any
/// other: the outbox in it is the same.
pub struct TestOutbox {
    pool: SqlitePool,
    outbox: Outbox<Sqlite>,
    store: Arc<Store<Sqlite>>,
    directory: TempDir,
}

impl TestOutbox {
    /// A database with an empty outbox of the default names.
    ///
    /// # Panics
    /// If there is no room for temporary files.
    pub async fn sqlite() -> Self {
        Self::sqlite_with(OutboxConfig::default()).await
    }

    /// A database with an empty outbox of other settings, such as the names that the service gives.
    ///
    /// # Panics
    /// If there is no room for temporary files, or `config` is refused.
    pub async fn sqlite_with(config: OutboxConfig) -> Self {
        let directory = TempDir::new().expect("a temporary directory can be made");
        let options = SqliteConnectOptions::new().filename(file_in(&directory));
        let pool = SqlitePool::connect_with(options.create_if_missing(true)).await;
        let pool = pool.expect("a temporary database can be made");
        Outbox::migrate_with(&pool, &config).await.expect("an outbox can be made");
        let outbox = Outbox::open_with(&pool, config).await.expect("the outbox can be opened");
        let store = outbox.store().await.expect("a store can be opened");
        Self { pool, outbox, store: Arc::new(store), directory }
    }

    /// The database.
    pub fn pool(&self) -> &SqlitePool {
        &self.pool
    }

    /// The outbox, to enqueue in.
    pub fn outbox(&self) -> &Outbox<Sqlite> {
        &self.outbox
    }

    /// What a relay reads: for the functions of this module, and with `outbox_core::Admin` for the
    /// dead letters.
    pub fn store(&self) -> Arc<Store<Sqlite>> {
        Arc::clone(&self.store)
    }

    /// Where the database is.
    pub fn file(&self) -> PathBuf {
        file_in(&self.directory)
    }
}

fn file_in(directory: &TempDir) -> PathBuf {
    directory.path().join("outbox.db")
}

impl fmt::Debug for TestOutbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TestOutbox").field("file", &self.file()).finish_non_exhaustive()
    }
}
