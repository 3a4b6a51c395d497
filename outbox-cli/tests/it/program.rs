//! Running the program.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

pub(crate) fn terminate(process: &Child) {
    let kill = Command::new("kill").arg(process.id().to_string()).status();
    assert!(kill.unwrap().success());
}

/// What a run of the program said, and how it ended.
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// A relay that runs beside the test, and not for longer.
pub(crate) struct Running(pub(crate) Child);

/// An outbox of its own in a SQLite file.
pub(crate) struct Bed {
    directory: TempDir,
    pub(crate) store: String,
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outbox"));
    command.args(args);
    for variable in ["OUTBOX_STORE", "OUTBOX_BROKER", "OUTBOX_LOG"] {
        command.env_remove(variable);
    }
    command
}

pub(crate) fn outbox(args: &[&str]) -> Ran {
    command(args).stdin(Stdio::null()).output().unwrap().into()
}

pub(crate) fn outbox_with(args: &[&str], input: &str) -> Ran {
    let mut command = command(args);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that has ended already reads nothing: what it says is judged, not this.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap().into()
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code().expect("no signal ended it"),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ran {
    #[track_caller]
    pub(crate) fn done(self) -> String {
        self.ended(0).stdout
    }

    #[track_caller]
    pub(crate) fn ended(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{}{}", self.stdout, self.stderr);
        self
    }

    /// It ended with `code`, said all of `parts` on standard error, and no secret anywhere.
    #[track_caller]
    pub(crate) fn refused(self, code: i32, parts: &[&str]) {
        let ran = self.ended(code);
        for part in parts {
            assert!(ran.stderr.contains(part), "no {part:?} in: {}", ran.stderr);
        }
        assert!(!ran.stderr.contains("canary"), "{}", ran.stderr);
        assert!(!ran.stdout.contains("canary"), "{}", ran.stdout);
    }
}

impl Running {
    pub(crate) fn start(args: &[&str]) -> Self {
        let mut command = command(args);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    /// With a wall clock that is wrong by `offset`, such as `+10m`.
    pub(crate) fn start_at(offset: &str, args: &[&str]) -> Self {
        let arch = std::env::consts::ARCH;
        let library = format!("/usr/lib/{arch}-linux-gnu/faketime/libfaketime.so.1");
        assert!(Path::new(&library).exists(), "this test needs Debian's package `faketime`");
        let mut command = command(args);
        // Timers run by the monotonic clock, which nobody sets.
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("FAKETIME", offset);
        command.env("LD_PRELOAD", library);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        Self(command.spawn().unwrap())
    }

    pub(crate) fn terminate(&self) {
        terminate(&self.0);
    }

    /// The exit code, once it has ended by itself.
    pub(crate) async fn ended(&mut self, patience: Duration) -> i32 {
        let mut status = None;
        wait_until(patience, || {
            status = self.0.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap().code().expect("no signal ended it")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, unless the test failed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Bed {
    pub(crate) fn new() -> Self {
        let bed = Self::without_tables();
        outbox(&["migrate", "--store", &bed.store]).done();
        bed
    }

    pub(crate) fn without_tables() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let store = format!("sqlite:{}", directory.path().join("test.db").display());
        Self { directory, store }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn enqueue(&self, input: &str) -> Ran {
        outbox_with(&["enqueue", "--store", &self.store], input)
    }

    pub(crate) fn depth(&self) -> u64 {
        status(&self.store)["depth"].as_u64().unwrap()
    }
}

pub(crate) fn status(store: &str) -> serde_json::Value {
    let status = outbox(&["status", "--store", store, "--json"]).done();
    serde_json::from_str(&status).unwrap()
}

/// The lines of a published file.
pub(crate) fn published(file: &Path) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Lines of input for messages of `keys` keys.
pub(crate) fn lines(count: u32, keys: u32) -> String {
    let line = |n: u32| format!("{{\"topic\":\"t\",\"key\":\"{}\",\"payload\":{n}}}\n", n % keys);
    (0..count).map(line).collect()
}

#[track_caller]
pub(crate) fn wait_until(
    patience: Duration,
    mut holds: impl FnMut() -> bool,
) -> impl Future<Output = ()> {
    let caller = std::panic::Location::caller();
    async move {
        let end = Instant::now() + patience;
        while !holds() {
            assert!(Instant::now() < end, "waited for {patience:?} at {caller}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
