//! A server of a test's own, which it may stop, kill and start again.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A running `nats-server` with JetStream. Killed when dropped.
pub(crate) struct Server {
    directory: TempDir,
    port: u16,
    child: Child,
}

impl Server {
    /// With its usual settings. `None`, and a word about it, where there is no such program; that
    /// fails where `CI` is set.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with("").await
    }

    /// With more settings than where it listens and keeps its data.
    pub(crate) async fn start_with(settings: &str) -> Option<Self> {
        loop {
            let directory = tempfile::tempdir().unwrap();
            let port = free_port();
            let store = directory.path().join("store");
            let config = format!(
                "listen: \"127.0.0.1:{port}\"\njetstream {{ store_dir: \"{}\" }}\n{settings}\n",
                store.display()
            );
            fs::write(directory.path().join("server.conf"), config).unwrap();
            let child = match spawn(&directory) {
                Ok(child) => child,
                Err(error) => {
                    skip(&error);
                    return None;
                }
            };
            let mut server = Self { directory, port, child };
            // Whoever else looks for a free port may have taken it meanwhile.
            if server.ready().await {
                return Some(server);
            }
        }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.directory).unwrap();
        assert!(self.ready().await, "it starts again");
    }

    /// Returns when all its threads stand still.
    pub(crate) fn pause(&self) {
        self.signal("-STOP");
        let threads = format!("/proc/{}/task", self.child.id());
        let runs = |thread: std::io::Result<fs::DirEntry>| {
            let state = fs::read_to_string(thread.unwrap().path().join("stat"));
            !state.unwrap_or_default().contains(") T ")
        };
        while fs::read_dir(&threads).is_ok_and(|mut threads| threads.any(runs)) {}
    }

    pub(crate) fn resume(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
    }

    async fn ready(&mut self) -> bool {
        for _ in 0..600 {
            tokio::time::sleep(Duration::from_millis(50)).await;
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if tokio::net::TcpStream::connect(self.address()).await.is_ok() {
                return true;
            }
        }
        panic!("nats-server does not listen");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

#[expect(clippy::print_stderr, reason = "a skipped test must not look passed")]
fn skip(error: &std::io::Error) {
    assert!(std::env::var_os("CI").is_none(), "can't run nats-server: {error}");
    eprintln!("SKIPPED: can't run nats-server: {error}");
}

fn spawn(directory: &TempDir) -> std::io::Result<Child> {
    let program = std::env::var_os("OUTBOX_TEST_NATS_SERVER");
    let mut server = Command::new(program.unwrap_or_else(|| "nats-server".into()));
    server.arg("-c").arg(directory.path().join("server.conf"));
    server.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}
