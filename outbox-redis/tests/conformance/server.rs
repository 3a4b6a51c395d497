//! A server of a test's own, which it may stop, kill and start again.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A running `redis-server`, which writes every command to its disk. Killed when dropped.
pub(crate) struct Server {
    directory: TempDir,
    port: u16,
    settings: Vec<String>,
    child: Child,
}

impl Server {
    /// With its usual settings. `None`, and a word about it, where there is no such program; that
    /// fails where `CI` is set.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with(&[]).await
    }

    /// With more of its options, as on its command line.
    pub(crate) async fn start_with(settings: &[&str]) -> Option<Self> {
        loop {
            // Whoever else looks for a free port may have taken it meanwhile.
            let server = Self::start_on(free_port(), settings).await?;
            if let Some(server) = server {
                return Some(server);
            }
        }
    }

    /// On that port; nothing in `Some` if it isn't free.
    pub(crate) async fn start_on(port: u16, settings: &[&str]) -> Option<Option<Self>> {
        let directory = tempfile::tempdir().unwrap();
        let settings: Vec<_> = settings.iter().map(|&word| word.to_owned()).collect();
        let child = match spawn(&directory, port, &settings) {
            Ok(child) => child,
            Err(error) => {
                skip(&error);
                return None;
            }
        };
        let mut server = Self { directory, port, settings, child };
        Some(server.ready().await.then_some(server))
    }

    pub(crate) fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) async fn restart(&mut self) {
        self.kill();
        self.child = spawn(&self.directory, self.port, &self.settings).unwrap();
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

    /// Any answer but that it is loading will do: it may want a password, or TLS.
    async fn ready(&mut self) -> bool {
        for _ in 0..600 {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(mut stream) = TcpStream::connect(self.address()).await {
                let mut answer = [0; 8];
                let asked = stream.write_all(b"PING\r\n").await.is_ok();
                let answered = asked && stream.read(&mut answer).await.is_ok();
                if answered && !answer.starts_with(b"-LOADING") {
                    return true;
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("redis-server does not answer");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn free_port() -> u16 {
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    free.local_addr().unwrap().port()
}

#[expect(clippy::print_stderr, reason = "a skipped test must not look passed")]
fn skip(error: &std::io::Error) {
    assert!(std::env::var_os("CI").is_none(), "can't run redis-server: {error}");
    eprintln!("SKIPPED: can't run redis-server: {error}");
}

fn spawn(directory: &TempDir, port: u16, settings: &[String]) -> std::io::Result<Child> {
    let mut server = Command::new("redis-server");
    server.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
    server.args(["--appendfsync", "always", "--port", &port.to_string(), "--dir"]);
    server.arg(directory.path()).args(settings);
    server.stdout(Stdio::null()).stderr(Stdio::null()).spawn()
}
