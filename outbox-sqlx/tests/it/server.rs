//! A database server of a test's own, which it may stop, let crash and start again.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use outbox_sqlx::{Identifier, Names, Outbox, OutboxConfig};
use outbox_testkit::servers::{self, Certificates};
use sqlx::{MySql, Pool, Postgres};

use crate::support::Kind;

/// A database with a server to start.
pub(crate) trait Serve: Kind {
    async fn serve() -> servers::Server;

    /// One that speaks TLS, too.
    async fn serve_encrypted(certificates: &Arc<Certificates>) -> servers::Server;
}

impl Serve for Postgres {
    async fn serve() -> servers::Server {
        let settings = ["shared_buffers=16MB", "shared_preload_libraries=pg_stat_statements"];
        servers::postgres(&settings).await
    }

    async fn serve_encrypted(certificates: &Arc<Certificates>) -> servers::Server {
        servers::postgres_encrypted(certificates).await
    }
}

impl Serve for MySql {
    async fn serve() -> servers::Server {
        let settings = ["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M"];
        servers::mariadb(&settings).await
    }

    async fn serve_encrypted(certificates: &Arc<Certificates>) -> servers::Server {
        servers::mariadb_encrypted(certificates).await
    }
}

/// It ends when it is dropped, and its data with it.
pub(crate) struct Server<DB: Serve> {
    server: servers::Server,
    pool: Pool<DB>,
}

/// Where tests put their tables.
pub(crate) const SCHEMA: &str = "shop";

impl<DB: Serve> Server<DB> {
    pub(crate) async fn start() -> Self {
        Self::of(DB::serve().await)
    }

    /// One that speaks TLS, too.
    pub(crate) async fn start_encrypted(certificates: &Arc<Certificates>) -> Self {
        Self::of(DB::serve_encrypted(certificates).await)
    }

    fn of(server: servers::Server) -> Self {
        // A service that gives up soon, so that it is seen to fail while the server is away.
        let pool = sqlx::pool::PoolOptions::new()
            .acquire_timeout(Duration::from_secs(1))
            .connect_lazy(&server.url())
            .unwrap();
        Self { server, pool }
    }

    pub(crate) fn pool(&self) -> &Pool<DB> {
        &self.pool
    }

    /// In [`SCHEMA`], with tables of its own.
    pub(crate) async fn outbox(&self) -> Outbox<DB> {
        let schema = Some(Identifier::new(SCHEMA).unwrap());
        let names = Names { schema, ..Names::default() };
        Outbox::migrate_with(&self.pool, &OutboxConfig::named(names.clone())).await.unwrap();
        Outbox::open_with(&self.pool, OutboxConfig::named(names)).await.unwrap()
    }

    /// Of a server that has ended, keeps a copy of its data for [`take_over`](Self::take_over).
    pub(crate) fn copy(&self) {
        run(Command::new("cp").arg("-a").args([self.data(), self.copied()]));
    }

    /// Puts the copy into the place of what a server that has ended holds.
    pub(crate) fn take_over(&self) {
        std::fs::remove_dir_all(self.data()).unwrap();
        std::fs::rename(self.copied(), self.data()).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.directory().join("data")
    }

    fn copied(&self) -> PathBuf {
        self.directory().join("copy")
    }
}

impl<DB: Serve> Deref for Server<DB> {
    type Target = servers::Server;

    fn deref(&self) -> &servers::Server {
        &self.server
    }
}

impl<DB: Serve> DerefMut for Server<DB> {
    fn deref_mut(&mut self) -> &mut servers::Server {
        &mut self.server
    }
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
