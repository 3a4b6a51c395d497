//! `cargo xtask test`: the servers, then every test of the workspace.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::{process, services};

#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// Starts no servers: tests whose server doesn't run fail.
    #[arg(long)]
    no_services: bool,

    /// Handed to `cargo test`: `-- -p outbox-sql leases`, `-- --test crash -- --nocapture`.
    #[arg(last = true)]
    arguments: Vec<String>,
}

pub(crate) fn run(args: &TestArgs) -> Result<()> {
    let began = Instant::now();
    let servers = if args.no_services {
        println!("== services: none, as asked");
        Vec::new()
    } else {
        println!("== services");
        services::up_all()?
    };
    let ready = began.elapsed();
    let mut command = cargo_test(&args.arguments);
    command.envs(servers.iter().map(|(variable, url)| (variable, url)));
    println!("== {}", process::shown(&command));
    let tally = watch(&mut command)?;
    summarise(&servers, ready, &tally, began.elapsed());
    if !tally.passed {
        bail!("tests failed");
    }
    Ok(())
}

/// Documentation tests are part of it. One failure shall not hide the next.
fn cargo_test(arguments: &[String]) -> Command {
    let mut command = process::cargo();
    command.arg("test");
    let some = |argument: &String| argument.starts_with("-p") || argument.starts_with("--package");
    if !arguments.iter().any(some) {
        command.arg("--workspace");
    }
    command.args(["--all-features", "--no-fail-fast"]).args(arguments);
    command
}

/// What the test programs and the documentation tests reported, in sum.
#[derive(Debug, Default)]
struct Tally {
    passed: bool,
    suites: usize,
    /// As the report lines have them: passed, failed, ignored.
    counts: [usize; 3],
}

/// Runs the tests on our terminal and reads along.
fn watch(command: &mut Command) -> Result<Tally> {
    let mut child = command.stdout(Stdio::piped()).spawn().context("could not start cargo")?;
    let output = BufReader::new(child.stdout.take().expect("standard output is piped"));
    let mut tally = Tally::default();
    for line in output.split(b'\n') {
        let line = line?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        if let Some(counts) = counts(&line) {
            tally.suites += 1;
            for (sum, count) in tally.counts.iter_mut().zip(counts) {
                *sum += count;
            }
        }
    }
    tally.passed = child.wait()?.success();
    Ok(tally)
}

/// Reads `test result: ok. 12 passed; 0 failed; 1 ignored; …`.
pub(crate) fn counts(line: &str) -> Option<[usize; 3]> {
    let report = line.strip_prefix("test result: ")?;
    let count = |label: &str| {
        let words: Vec<_> = report.split([' ', ';']).collect();
        words.windows(2).find(|pair| pair[1] == label)?.first()?.parse().ok()
    };
    Some([count("passed")?, count("failed")?, count("ignored")?])
}

fn summarise(servers: &[(&str, String)], ready: Duration, tally: &Tally, all: Duration) {
    let [passed, failed, ignored] = tally.counts;
    println!("== summary");
    println!("services: {} in {:.0} s", servers.len(), ready.as_secs_f32());
    println!(
        "tests:    {passed} passed, {failed} failed, {ignored} ignored in {} suites, {:.0} s with their build",
        tally.suites,
        all.saturating_sub(ready).as_secs_f32()
    );
    println!("result:   {}", if tally.passed { "passed" } else { "FAILED" });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_line_is_read() {
        let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 7 filtered out; finished in 0.01s";
        assert_eq!(counts(line), Some([12, 3, 1]));
        assert_eq!(counts("test house::check ... ok"), None);
    }

    #[test]
    fn a_named_package_replaces_the_workspace() {
        let shown = |arguments: &[&str]| {
            let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
            process::shown(&cargo_test(&arguments))
        };
        assert!(
            shown(&["leases"]).ends_with("test --workspace --all-features --no-fail-fast leases")
        );
        assert!(shown(&["-p", "outbox"]).ends_with("test --all-features --no-fail-fast -p outbox"));
    }
}
