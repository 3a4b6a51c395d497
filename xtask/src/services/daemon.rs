//! A server's home directory, and the process that outlives us.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::patience::until;
use crate::process;

/// Where one server keeps its data, its log and the id of its process.
#[derive(Debug)]
pub(super) struct Home {
    root: PathBuf,
}

impl Home {
    pub(super) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    pub(super) fn create(&self) -> Result<()> {
        fs::create_dir_all(&self.root)
            .with_context(|| format!("could not make the directory {}", self.root.display()))
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Has `name` filled beside its place and then renames it, so that no half of it is ever used. What is there stays.
    pub(super) fn make(
        &self,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let finished = self.path(name);
        if !finished.is_dir() {
            let unfinished = self.path(&format!("{name}.unfinished"));
            if unfinished.exists() {
                fs::remove_dir_all(&unfinished)?;
            }
            fs::create_dir(&unfinished)?;
            fill(&unfinished)?;
            fs::rename(&unfinished, &finished)
                .with_context(|| format!("could not put {} in its place", finished.display()))?;
        }
        Ok(finished)
    }

    /// Starts the server in a session of its own, so that it survives us and our terminal.
    pub(super) fn spawn(&self, server: &Command) -> Result<Child> {
        let log = File::options().create(true).append(true).open(self.log())?;
        let mut command = Command::new("setsid");
        command.arg(server.get_program()).args(server.get_args());
        command.current_dir(server.get_current_dir().unwrap_or(&self.root));
        for (name, value) in server.get_envs() {
            command.env(name, value.unwrap_or(OsStr::new("")));
        }
        let child = command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("could not start `{}`", process::shown(server)))?;
        fs::write(self.pid_file(), child.id().to_string())?;
        Ok(child)
    }

    /// Ends the server that was started from here and waits for it; `false` if there is none.
    pub(super) fn stop(&self, signal: &str) -> Result<bool> {
        let Some(pid) = self.running() else { return Ok(false) };
        // Some servers don't hear a signal while they start, and data that tests wrote may be lost.
        self.signal(pid, signal).or_else(|_| self.signal(pid, "KILL"))?;
        fs::remove_file(self.pid_file())?;
        Ok(true)
    }

    fn signal(&self, pid: u32, signal: &str) -> Result<()> {
        // The shell's own `kill`: a bare system has no program of that name.
        process::read(Command::new("sh").args(["-c", &format!("kill -s {signal} {pid}")]))?;
        until(Duration::from_secs(20), || {
            ensure!(self.running().is_none(), "process {pid} runs on after SIG{signal}");
            Ok(())
        })
    }

    /// The last lines of the log, for an error message.
    pub(super) fn end_of_log(&self) -> String {
        let text = fs::read_to_string(self.log()).unwrap_or_default();
        let lines: Vec<_> = text.lines().collect();
        let last = &lines[lines.len().saturating_sub(15)..];
        format!("the end of {}:\n{}", self.log().display(), last.join("\n"))
    }

    /// The recorded process, if it lives and is still ours: ids are used again, also after a reboot.
    fn running(&self) -> Option<u32> {
        let pid = fs::read_to_string(self.pid_file()).ok()?.trim().parse().ok()?;
        let arguments = fs::read(format!("/proc/{pid}/cmdline")).ok()?;
        let root = self.root.to_string_lossy();
        String::from_utf8_lossy(&arguments).contains(root.as_ref()).then_some(pid)
    }

    fn log(&self) -> PathBuf {
        self.path("log")
    }

    fn pid_file(&self) -> PathBuf {
        self.path("pid")
    }
}
