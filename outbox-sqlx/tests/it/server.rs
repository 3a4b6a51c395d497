//! A database server of a test's own, which it may stop, let crash and start again.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use outbox_sqlx::{Identifier, Names, Outbox, OutboxConfig};
use sqlx::{Connection as _, MySql, Pool, Postgres};
use tempfile::TempDir;

use crate::support::Kind;

/// A database with a server to start.
pub(crate) trait Serve: Kind {
    /// The signal at which the server ends its connections, then itself.
    const STOP: &'static str;

    /// The signal at which it ends at once, and recovers at its next start.
    const CRASH: &'static str;

    /// The system's account for it: no such server runs as root.
    const ACCOUNT: &'static str;

    fn create(data: &Path) -> Command;

    /// `id` tells it from the servers that were started before.
    fn serve(data: &Path, port: u16, id: u32) -> Command;

    fn url(port: u16) -> String;
}

impl Serve for Postgres {
    const STOP: &'static str = "INT";
    const CRASH: &'static str = "QUIT";
    const ACCOUNT: &'static str = "postgres";

    fn create(data: &Path) -> Command {
        let mut initdb = program("initdb", Self::ACCOUNT);
        initdb.arg("-D").arg(data).args(["--username=outbox", "--auth=trust", "--locale=C"]);
        initdb.args(["--encoding=UTF8", "--no-sync"]);
        initdb
    }

    fn serve(data: &Path, port: u16, _: u32) -> Command {
        let mut server = program("postgres", Self::ACCOUNT);
        server.arg("-D").arg(data).args(["-p", &port.to_string(), "-c", "shared_buffers=16MB"]);
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        server
    }

    fn url(port: u16) -> String {
        format!("postgres://outbox@127.0.0.1:{port}/postgres")
    }
}

impl Serve for MySql {
    const STOP: &'static str = "TERM";
    const CRASH: &'static str = "KILL";
    const ACCOUNT: &'static str = "mysql";

    fn create(data: &Path) -> Command {
        let mut installer = program("mariadb-install-db", Self::ACCOUNT);
        installer.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
        installer.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
        installer
    }

    fn serve(data: &Path, port: u16, id: u32) -> Command {
        let mut server = program("mariadbd", Self::ACCOUNT);
        server.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
        server.args([format!("--port={port}"), format!("--server-id={id}")]);
        server.arg(format!("--socket={}", data.with_file_name("socket").display()));
        server.args(["--bind-address=127.0.0.1", "--skip-name-resolve"]);
        server.args(["--innodb-buffer-pool-size=32M", "--innodb-log-file-size=8M"]);
        server
    }

    fn url(port: u16) -> String {
        format!("mysql://root@127.0.0.1:{port}/mysql")
    }
}

/// It ends when it is dropped, and its data with it.
pub(crate) struct Server<DB: Serve> {
    home: TempDir,
    port: u16,
    starts: u32,
    child: Child,
    pool: Pool<DB>,
}

/// Where tests put their tables.
pub(crate) const SCHEMA: &str = "shop";

const PATIENCE: Duration = Duration::from_mins(1);

impl<DB: Serve> Server<DB> {
    pub(crate) async fn start() -> Self {
        let home = tempfile::tempdir().unwrap();
        give(home.path(), DB::ACCOUNT);
        let data = home.path().join("data");
        let created = DB::create(&data).current_dir(&home).output().unwrap();
        assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stderr));
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        let child = spawn::<DB>(&home, port, 1);
        // A service that gives up soon, so that it is seen to fail while the server is away.
        let pool = sqlx::pool::PoolOptions::new()
            .acquire_timeout(Duration::from_secs(1))
            .connect_lazy(&DB::url(port))
            .unwrap();
        let mut server = Self { home, port, starts: 1, child, pool };
        server.answers().await;
        server
    }

    /// The number of its process.
    pub(crate) fn process(&self) -> u32 {
        self.child.id()
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

    /// Sends it [`Serve::STOP`] or [`Serve::CRASH`], and waits for its end.
    pub(crate) fn end(&mut self, signal: &str) {
        let kill = format!("kill -s {signal} {}", self.child.id());
        run(Command::new("sh").args(["-c", &kill]));
        self.child.wait().unwrap();
    }

    pub(crate) async fn start_again(&mut self) {
        self.starts += 1;
        self.child = spawn::<DB>(&self.home, self.port, self.starts);
        self.answers().await;
    }

    /// Of a server that has ended, keeps a copy of its data for [`take_over`](Self::take_over).
    pub(crate) fn copy(&self) {
        run(Command::new("cp").arg("-a").args([self.data(), self.copied()]));
    }

    /// Puts the copy into the place of what a server that has ended holds.
    pub(crate) fn take_over(&self) {
        fs::remove_dir_all(self.data()).unwrap();
        fs::rename(self.copied(), self.data()).unwrap();
    }

    fn data(&self) -> PathBuf {
        self.home.path().join("data")
    }

    fn copied(&self) -> PathBuf {
        self.home.path().join("copy")
    }

    async fn answers(&mut self) {
        let until = Instant::now() + PATIENCE;
        while let Err(error) = DB::Connection::connect(&DB::url(self.port)).await {
            let ended = self.child.try_wait().unwrap().is_some();
            let log = fs::read_to_string(self.home.path().join(LOG)).unwrap();
            assert!(!ended && Instant::now() < until, "{} fails: {error}\n{log}", DB::NAME);
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl<DB: Serve> Drop for Server<DB> {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|ended| ended.is_none()) {
            self.end(DB::CRASH);
        }
    }
}

const LOG: &str = "log";

fn spawn<DB: Serve>(home: &TempDir, port: u16, id: u32) -> Child {
    let log = File::options().create(true).append(true).open(home.path().join(LOG)).unwrap();
    let mut server = DB::serve(&home.path().join("data"), port, id);
    server.current_dir(home).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    server.spawn().unwrap()
}

/// The program of that name, as that account if we are root.
fn program(name: &str, account: &str) -> Command {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let debians = ["/usr/sbin", "/usr/lib/postgresql/15/bin"].map(PathBuf::from);
    let mut found = std::env::split_paths(&path).chain(debians).map(|place| place.join(name));
    let found = found.find(|program| program.is_file());
    let found = found.unwrap_or_else(|| {
        panic!("this test needs the program `{name}`: run `cargo xtask services up`")
    });
    if !is_root() {
        return Command::new(found);
    }
    // What we spawn must be the server itself: `setpriv` replaces itself by it.
    let mut command = Command::new("setpriv");
    command.args(["--reuid", account, "--regid", account, "--init-groups", "--"]).arg(found);
    command
}

fn give(path: &Path, account: &str) {
    if is_root() {
        run(Command::new("chown").arg(format!("{account}:")).arg(path));
    }
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|id| id.stdout == b"0\n")
}

fn run(command: &mut Command) {
    assert!(command.status().unwrap().success(), "{command:?}");
}
