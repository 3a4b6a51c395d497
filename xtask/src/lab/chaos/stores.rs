//! The databases, on servers of the run's own.

use std::fs::{self, File};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use outbox_testkit::faults::Proxy;
use outbox_testkit::servers::{self, Server};
use sqlx::{MySql, Postgres, Sqlite};
use tempfile::TempDir;

use super::place::{Place, Sqlx};
use super::plan::StoreKind;

/// A database with an outbox, and the ways to it.
pub(super) struct StoreBed {
    pub(super) place: Arc<dyn Place>,
    /// Without one it is a file.
    pub(super) server: Option<Server>,
    /// One for each relay, unless it is a file.
    pub(super) proxies: Vec<Proxy>,
    disk: Option<Disk>,
    kind: StoreKind,
    url: String,
}

/// So few that they can be exhausted soon.
const CONNECTIONS: u32 = 60;

impl StoreBed {
    pub(super) async fn start(kind: StoreKind, relays: usize) -> Result<Self> {
        let connections = format!("max_connections={CONNECTIONS}");
        let (server, disk) = match kind {
            StoreKind::Postgres => {
                let settings = [&*connections, "shared_buffers=64MB"];
                (Some(servers::postgres(&settings).await), None)
            }
            StoreKind::Mariadb => {
                let connections = format!("--{connections}");
                // It is the same server each time.
                let settings = [&*connections, "--innodb-buffer-pool-size=64M", "--server-id=1"];
                (Some(servers::mariadb(&settings).await), None)
            }
            StoreKind::Sqlite => (None, Some(Disk::mount()?)),
        };
        let url = match (&server, &disk) {
            (Some(server), _) => server.url(),
            (None, disk) => {
                let disk = disk.as_ref().expect("a file has a disk");
                format!("sqlite:{}?mode=rwc", disk.path().join("outbox.db").display())
            }
        };
        let place: Arc<dyn Place> = match kind {
            StoreKind::Postgres => Arc::new(Sqlx::<Postgres>::new(&url).await?),
            StoreKind::Mariadb => Arc::new(Sqlx::<MySql>::new(&url).await?),
            StoreKind::Sqlite => Arc::new(Sqlx::<Sqlite>::new(&url).await?),
        };
        let proxies = match &server {
            Some(server) => {
                (0..relays).map(|_| Proxy::start(server.address())).collect::<Result<_, _>>()?
            }
            None => Vec::new(),
        };
        Ok(Self { place, server, proxies, disk, kind, url })
    }

    /// What operators are told.
    pub(super) fn url(&self) -> &str {
        self.url.split('?').next().unwrap_or_default()
    }

    /// What a relay is told: it goes through its proxy.
    pub(super) fn relay_url(&self, relay: usize) -> String {
        match (&self.server, self.proxies.get(relay)) {
            (Some(server), Some(proxy)) => {
                self.url().replace(&server.address().to_string(), &proxy.address().to_string())
            }
            _ => self.url().to_owned(),
        }
    }

    pub(super) fn disk(&self) -> Result<&Disk> {
        self.disk.as_ref().context("the database is no file")
    }

    /// The server ends the connections of everybody else.
    pub(super) async fn disconnect(&self) -> Result<()> {
        let place = &self.place;
        if self.kind == StoreKind::Postgres {
            let end = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                       WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'";
            place.numbers(end).await?;
            return Ok(());
        }
        let others = "SELECT CAST(id AS SIGNED) FROM information_schema.processlist \
                      WHERE id <> connection_id() AND user = 'root'";
        for id in place.numbers(others).await? {
            // It may have left meanwhile.
            let _ = place.execute(&format!("KILL CONNECTION {id}")).await;
        }
        Ok(())
    }

    pub(super) async fn version(&self) -> Result<String> {
        let (name, sql) = match self.kind {
            StoreKind::Postgres => ("PostgreSQL", "SHOW server_version"),
            StoreKind::Mariadb => ("MariaDB", "SELECT version()"),
            StoreKind::Sqlite => ("SQLite", "SELECT sqlite_version()"),
        };
        Ok(format!("{name} {}", self.place.text(sql).await?))
    }

    /// What its durability depends on.
    pub(super) async fn durability(&self) -> Result<String> {
        let settings: &[&str] = match self.kind {
            StoreKind::Postgres => &["fsync", "synchronous_commit", "full_page_writes"],
            StoreKind::Mariadb => &["innodb_flush_log_at_trx_commit", "sync_binlog", "log_bin"],
            // The relays have this one, too: it is what SQLite does unless it is told otherwise.
            StoreKind::Sqlite => &["journal_mode", "synchronous"],
        };
        let mut said = Vec::new();
        for setting in settings {
            let sql = match self.kind {
                StoreKind::Postgres => format!("SHOW {setting}"),
                StoreKind::Mariadb => format!("SELECT CAST(@@{setting} AS CHAR)"),
                StoreKind::Sqlite => {
                    format!("SELECT CAST({setting} AS TEXT) FROM pragma_{setting}")
                }
            };
            said.push(format!("{setting}={}", self.place.text(&sql).await?));
        }
        Ok(said.join(", "))
    }
}

/// A small file system in memory, which can be full.
pub(super) struct Disk(TempDir);

/// In MiB.
const SIZE: u32 = 256;

impl Disk {
    fn mount() -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={SIZE}m"), "tmpfs"]).arg(directory.path());
        let mounted = mount.output().context("there is no `mount`")?;
        let complaint = String::from_utf8_lossy(&mounted.stderr);
        ensure!(
            mounted.status.success(),
            "a disk that can be full is root's to mount: {complaint}"
        );
        Ok(Self(directory))
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn ballast(&self) -> PathBuf {
        self.path().join("ballast")
    }

    /// Leaves nothing free for so long.
    pub(super) async fn fill(&self, hold: Duration) -> Result<()> {
        let mut ballast = File::create(self.ballast())?;
        for size in [1 << 20, 1 << 12] {
            let bytes = vec![0; size];
            loop {
                match ballast.write(&bytes) {
                    Ok(_) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        tokio::time::sleep(hold).await;
        Ok(fs::remove_file(self.ballast())?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Whoever has a file open there keeps it; the name goes at once.
        let _ = Command::new("umount").arg("--lazy").arg(self.path()).status();
    }
}
