//! Building a test program of the copy, and running one of its tests.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

use super::tree::Tree;
use super::{Beside, Suite, Test};
use crate::test::counts;
use crate::{process, services};

/// A test that takes longer tells nothing, whatever it would say in the end.
const PATIENCE: Duration = Duration::from_mins(5);

pub(super) struct Trial<'a> {
    tree: &'a Tree,
    /// Where the servers are.
    variables: Vec<(&'static str, String)>,
}

/// How a test ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    Passed,
    /// With the first thing that it says.
    Failed(String),
}

impl<'a> Trial<'a> {
    pub(super) fn new(tree: &'a Tree, variables: Vec<(&'static str, String)>) -> Self {
        Self { tree, variables }
    }

    /// Builds a test program, and says where it is. What doesn't compile is noticed by no test.
    pub(super) fn build(&self, suite: Suite) -> Result<PathBuf> {
        let mut command = self.tree.cargo();
        command.args(["test", "--no-run", "--quiet", "--all-features", "--test", suite.target]);
        command.arg("--message-format=json-render-diagnostics");
        match suite.beside {
            Beside::Nothing => command.args(["--package", suite.package]),
            Beside::All => command.arg("--workspace"),
        };
        let manifest = self.tree.directory(suite).join("Cargo.toml");
        let executable = |line: &str| {
            let message: serde_json::Value = serde_json::from_str(line).ok()?;
            let is_its = message["manifest_path"].as_str() == manifest.to_str();
            message["executable"].as_str().filter(|_| is_its).map(PathBuf::from)
        };
        let messages = process::read(&mut command)?;
        let built = messages.lines().find_map(executable);
        built.with_context(|| format!("{} has no tests `{}`", suite.package, suite.target))
    }

    /// An error unless the test passes or fails: if there is no such test, if its program breaks
    /// off, if time runs out, if a server has gone.
    pub(super) fn run(&self, program: &Path, test: Test) -> Result<Found> {
        let mut command = Command::new(program);
        let directory = self.tree.directory(test.suite);
        // As cargo runs it: ours is xtask's.
        command.env("CARGO_MANIFEST_DIR", &directory).current_dir(directory);
        command.args(["--exact", test.name]);
        command.envs(self.variables.iter().map(|(variable, url)| (variable, url)));
        let found = judge(&said(&mut command)?)?;
        if test.suite.servers && found != Found::Passed {
            services::all_answer().context("a test can't tell that from a fault")?;
        }
        Ok(found)
    }
}

/// What a test program writes, until it ends.
#[expect(clippy::disallowed_methods, reason = "no runtime here: nothing else wants this thread")]
fn said(command: &mut Command) -> Result<String> {
    let mut output = tempfile()?;
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
    // In a group of its own, so that it can be ended with all that it has started.
    let mut child = command.process_group(0).spawn().context("could not start the tests")?;
    let until = Instant::now() + PATIENCE;
    while child.try_wait()?.is_none() {
        if Instant::now() > until {
            end(&mut child)?;
            bail!("no end after {} minutes", PATIENCE.as_secs() / 60);
        }
        sleep(Duration::from_millis(50));
    }
    output.rewind()?;
    let mut said = Vec::new();
    output.read_to_end(&mut said)?;
    Ok(String::from_utf8_lossy(&said).into_owned())
}

/// A file without a name, which goes with its last reader.
fn tempfile() -> Result<File> {
    let path = std::env::temp_dir().join(format!("outbox-mutants-{}", std::process::id()));
    let file = File::options().create(true).truncate(true).read(true).write(true).open(&path)?;
    fs::remove_file(path)?;
    Ok(file)
}

fn end(child: &mut Child) -> Result<()> {
    // The shell's own `kill`: a bare system has no program of that name.
    let kill = format!("kill -s KILL -- -{}", child.id());
    process::read(Command::new("sh").args(["-c", &kill]))?;
    child.wait()?;
    Ok(())
}

fn judge(said: &str) -> Result<Found> {
    let Some([passed, failed, _]) = said.lines().find_map(counts) else {
        bail!("it ended without a result:\n{}", last_lines(said));
    };
    ensure!(passed + failed == 1, "{} tests are called so", passed + failed);
    if failed == 0 {
        return Ok(Found::Passed);
    }
    let complaint = said.lines().skip_while(|line| !line.contains("panicked at ")).nth(1);
    let complaint = complaint.or_else(|| said.lines().find(|line| line.contains("did not panic")));
    Ok(Found::Failed(complaint.unwrap_or_default().chars().take(160).collect()))
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_test_that_fails_notices() {
        let failed = "running 1 test\nF\n---- it::holds stdout ----\n\n\
            thread 'it::holds' (7) panicked at outbox-core/tests/it/main.rs:7:5:\nlost 1\n\n\
            test result: FAILED. 0 passed; 1 failed; 0 ignored; 0 measured; 9 filtered out";
        assert_eq!(judge(failed).unwrap(), Found::Failed("lost 1".to_owned()));
        let passed =
            "running 1 test\n.\ntest result: ok. 1 passed; 0 failed; 0 ignored; 0 measured";
        assert_eq!(judge(passed).unwrap(), Found::Passed);
        let none = "running 0 tests\n\ntest result: ok. 0 passed; 0 failed; 0 ignored; 0 measured";
        assert!(judge(none).is_err());
        let aborted = "running 1 test\nprocess didn't exit successfully (signal: 6, SIGABRT)";
        assert!(judge(aborted).is_err());
    }
}
