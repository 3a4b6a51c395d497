//! A process that listens on ports.

use std::fmt;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::missing;

/// A running server, with what it keeps on its disk. Killed when dropped.
pub struct Server {
    kind: Kind,
    directory: TempDir,
    ports: Vec<u16>,
    command: Make,
    child: Child,
}

/// Makes the command from a directory and ports, with the files that it needs there.
type Make = Arc<dyn Fn(&Path, &[u16]) -> Command + Send + Sync>;

/// How to know that a server lets clients in.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// What clients connect to, with `{}` for the address.
    pub(super) url: &'static str,
    /// What to ask it on its first port.
    pub(super) question: &'static [u8],
    /// Whether that was the answer.
    pub(super) is_answer: fn(&[u8]) -> bool,
    /// The signal at which it ends its connections, then itself.
    pub(super) stop: &'static str,
}

/// Somebody else may have been quicker to take the ports.
const ATTEMPTS: usize = 5;

/// Between one look at a server that starts and the next.
const PAUSE: Duration = Duration::from_millis(50);

/// Two minutes of them.
const LOOKS: usize = 2400;

impl Server {
    /// Starts it in a new directory, and waits until it answers.
    pub(super) async fn start(
        kind: Kind,
        ports: impl Fn() -> Vec<u16>,
        command: impl Fn(&Path, &[u16]) -> Command + Send + Sync + 'static,
    ) -> Self {
        let command: Make = Arc::new(command);
        let mut log = String::new();
        for _ in 0..ATTEMPTS {
            let (directory, ports) = (tempfile::tempdir().unwrap(), ports());
            let child = spawn(kind, &command, directory.path(), &ports);
            let mut server = Self { kind, directory, ports, command: command.clone(), child };
            if server.is_ready().await {
                return server;
            }
            log = server.log();
        }
        panic!("{} ends as soon as it is started:\n{log}", kind.name)
    }

    /// As publishers take it.
    pub fn url(&self) -> String {
        self.kind.url.replace("{}", &self.address().to_string())
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.ports[0]).into()
    }

    /// All of its ports; the first is that of [`address`](Self::address).
    pub fn ports(&self) -> &[u16] {
        &self.ports
    }

    /// Where it keeps its files.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The number of its process.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Ends it as a crash does, with the processes that it has started. What it has written is
    /// still there.
    pub fn kill(&mut self) {
        if self.child.try_wait().unwrap().is_some() {
            return;
        }
        // It starts none any more.
        self.pause();
        let others = children(self.child.id());
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        for process in others {
            // It may have ended by itself when its parent did.
            let _ = Command::new("kill").args(["-s", "KILL", &process.to_string()]).output();
        }
    }

    /// Ends it as an operator does, and waits until it has ended.
    pub fn stop(&mut self) {
        self.signal(self.kind.stop);
        self.child.wait().unwrap();
    }

    /// After it was ended, on the same ports, and waits until it answers.
    pub async fn start_again(&mut self) {
        self.child = spawn(self.kind, &self.command, self.directory.path(), &self.ports);
        assert!(self.is_ready().await, "{} does not start again:\n{}", self.kind.name, self.log());
    }

    /// Kills it and starts it again.
    pub async fn restart(&mut self) {
        self.kill();
        self.start_again().await;
    }

    /// Lets it stand still, as a machine does that is suspended. Returns when all its threads do.
    pub fn pause(&self) {
        self.signal("STOP");
        let threads = format!("/proc/{}/task", self.child.id());
        let runs = |thread: std::io::Result<fs::DirEntry>| {
            let state = fs::read_to_string(thread.unwrap().path().join("stat"));
            !state.unwrap_or_default().contains(") T ")
        };
        while fs::read_dir(&threads).is_ok_and(|mut threads| threads.any(runs)) {}
    }

    /// After a pause.
    pub fn resume(&self) {
        self.signal("CONT");
    }

    fn signal(&self, signal: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", signal, &id]).status().unwrap().success());
    }

    /// False when it has ended instead.
    async fn is_ready(&mut self) -> bool {
        for _ in 0..LOOKS {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if timeout(Duration::from_secs(5), self.answers()).await.is_ok_and(|answers| answers) {
                return true;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("{} does not answer:\n{}", self.kind.name, self.log())
    }

    async fn answers(&self) -> bool {
        let Ok(mut stream) = TcpStream::connect(self.address()).await else { return false };
        if stream.write_all(self.kind.question).await.is_err() {
            return false;
        }
        let mut heard = Vec::new();
        while !(self.kind.is_answer)(&heard) {
            if !matches!(stream.read_buf(&mut heard).await, Ok(1..)) {
                return false;
            }
        }
        true
    }

    /// The end of what it said.
    fn log(&self) -> String {
        let log = fs::read(self.directory.path().join(LOG)).unwrap_or_default();
        String::from_utf8_lossy(&log[log.len().saturating_sub(4000)..]).into_owned()
    }
}

const LOG: &str = "log";

fn spawn(kind: Kind, command: &Make, directory: &Path, ports: &[u16]) -> Child {
    let log = File::options().create(true).append(true).open(directory.join(LOG)).unwrap();
    let mut command = command(directory, ports);
    command.current_dir(directory);
    command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
    match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == ErrorKind::NotFound => missing(kind.name),
        Err(error) => panic!("{} can't be started: {error}", kind.name),
    }
}

/// The processes that this one has started, and that live.
fn children(parent: u32) -> Vec<u32> {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let processes = processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    let parent = parent.to_string();
    let is_child = |process: &u32| {
        let stat = fs::read_to_string(format!("/proc/{process}/stat")).unwrap_or_default();
        // The name of its program, in parentheses, may hold anything.
        let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
        fields.split_whitespace().nth(1) == Some(&*parent)
    };
    processes.filter(is_child).collect()
}

/// Whether `text` has `part` in it.
pub(super) fn has(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, address) = (self.kind.name, self.address());
        f.debug_struct("Server")
            .field("name", &name)
            .field("address", &address)
            .finish_non_exhaustive()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
