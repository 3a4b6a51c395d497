//! The relays: processes that somebody starts again whenever they end.

use std::fs::{self, File};
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::task::JoinHandle;

use super::plan::{CLOCKED, LEASE, PUBLISH_TIMEOUT};
use super::program;

/// The most messages that a relay holds in memory: so many it can have published and not settled.
pub(super) const WINDOW: u64 = 256;

/// What is started.
pub(super) struct Recipe {
    pub(super) program: PathBuf,
    /// For its log, and the file that says what its clock shows.
    pub(super) directory: PathBuf,
    pub(super) store: String,
    pub(super) broker: String,
}

/// One relay, in as many processes as it takes.
pub(super) struct Relay {
    shared: Arc<Shared>,
    supervisor: JoinHandle<()>,
}

struct Shared {
    recipe: Recipe,
    number: usize,
    process: Mutex<Option<u32>>,
    ends: Mutex<Vec<ExitStatus>>,
    over: AtomicBool,
}

/// Before it is started again.
const PAUSE: Duration = Duration::from_millis(200);

impl Relay {
    pub(super) fn start(number: usize, recipe: Recipe) -> Result<Self> {
        fs::write(clock(&recipe, number), "+0")?;
        let (process, ends, over) = (Mutex::default(), Mutex::default(), AtomicBool::new(false));
        let shared = Arc::new(Shared { recipe, number, process, ends, over });
        let supervisor = tokio::spawn(supervise(Arc::clone(&shared)));
        Ok(Self { shared, supervisor })
    }

    /// Sends a signal to its process. One that has just ended is none the worse for it.
    pub(super) fn signal(&self, signal: &str) -> Result<()> {
        let process = *lock(&self.shared.process);
        let Some(process) = process else { return Ok(()) };
        let kill = format!("kill -s {signal} {process} 2>/dev/null || true");
        let status = Command::new("sh").args(["-c", &kill]).status()?;
        ensure!(status.success(), "no shell sends a signal");
        Ok(())
    }

    /// Sets its wall clock, by so much as `+10m`; from then on it runs at its usual speed.
    pub(super) fn set_clock(&self, offset: &str) -> Result<()> {
        let file = clock(&self.shared.recipe, self.shared.number);
        let next = file.with_extension("next");
        fs::write(&next, offset)?;
        fs::rename(next, file).context("its clock can't be set")
    }

    /// How its processes have ended so far.
    pub(super) fn ends(&self) -> Vec<ExitStatus> {
        lock(&self.shared.ends).clone()
    }

    /// Waits until it has ended so often.
    pub(super) async fn ended(&self, times: usize, patience: Duration) -> bool {
        let ended = async {
            while lock(&self.shared.ends).len() < times {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(patience, ended).await.is_ok()
    }

    pub(super) fn log(&self) -> Result<String> {
        Ok(fs::read_to_string(log(&self.shared.recipe, self.shared.number))?)
    }

    /// Asks it to end, for good. False if it had to be killed.
    pub(super) async fn end(self, patience: Duration) -> Result<(bool, ExitStatus)> {
        self.shared.over.store(true, Relaxed);
        let before = self.ends().len();
        self.signal("CONT")?;
        self.signal("TERM")?;
        let in_order = self.ended(before + 1, patience).await;
        if !in_order {
            self.signal("KILL")?;
        }
        self.supervisor.await?;
        let ends = lock(&self.shared.ends);
        Ok((in_order, *ends.last().context("it has never run")?))
    }
}

fn clock(recipe: &Recipe, number: usize) -> PathBuf {
    recipe.directory.join(format!("clock-{number}"))
}

fn log(recipe: &Recipe, number: usize) -> PathBuf {
    recipe.directory.join(format!("relay-{number}.log"))
}

async fn supervise(shared: Arc<Shared>) {
    while !shared.over.load(Relaxed) {
        let mut child = spawn(&shared.recipe, shared.number).expect("the relay can be started");
        *lock(&shared.process) = child.id();
        let ended = child.wait().await.expect("it is our child");
        // Whoever sends a signal now must not meet another process of that number.
        *lock(&shared.process) = None;
        lock(&shared.ends).push(ended);
        tokio::time::sleep(PAUSE).await;
    }
}

fn spawn(recipe: &Recipe, number: usize) -> Result<tokio::process::Child> {
    let log = File::options().create(true).append(true).open(log(recipe, number))?;
    let seconds = |span: Duration| format!("{}ms", span.as_millis());
    let mut command = program::command(
        &recipe.program,
        &["relay", "--lease", &seconds(LEASE), "--publish-timeout", &seconds(PUBLISH_TIMEOUT)],
    );
    command.args(["--retry-max", "1s", "--window", &WINDOW.to_string()]);
    command.args(["--stop-timeout", "5s", "--poll-max", "100ms"]);
    command.env("OUTBOX_STORE", &recipe.store).env("OUTBOX_BROKER", &recipe.broker);
    command.env("OUTBOX_LOG", "info,outbox_core=debug");
    if number == CLOCKED {
        fake_clock(&mut command, &clock(recipe, number))?;
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    let mut command = tokio::process::Command::from(command);
    Ok(command.kill_on_drop(true).spawn()?)
}

/// Timers run by the monotonic clock, which nobody sets.
fn fake_clock(command: &mut Command, file: &Path) -> Result<()> {
    let arch = std::env::consts::ARCH;
    let library = format!("/usr/lib/{arch}-linux-gnu/faketime/libfaketime.so.1");
    ensure!(Path::new(&library).exists(), "this needs Debian's package `faketime`");
    command.env("LD_PRELOAD", library).env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    command.env("FAKETIME_TIMESTAMP_FILE", file).env("FAKETIME_CACHE_DURATION", "1");
    Ok(())
}

/// What ended a process, for a report.
pub(super) fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("code {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "nothing known".to_owned(),
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
