//! Simulations, benchmarks and chaos run in a build with the adapters in it, the first two in a
//! release build. Other tasks shall not wait for that build, so this one makes it and hands its
//! arguments on.

use std::process::Command;

use anyhow::Result;
use clap::Args;

use crate::process;

/// Arguments that the release build understands.
#[derive(Debug, Args)]
#[command(disable_help_flag = true)]
pub(crate) struct Rest {
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

pub(crate) type SimulateArgs = Rest;
pub(crate) type BenchArgs = Rest;
pub(crate) type ChaosArgs = Rest;

pub(crate) fn simulate(rest: &Rest) -> Result<()> {
    process::run(release("simulate").args(&rest.arguments))
}

pub(crate) fn bench(rest: &Rest) -> Result<()> {
    process::run(release("bench").args(&rest.arguments))
}

/// In the build of the tests: what is slow here is not ours.
pub(crate) fn chaos(rest: &Rest) -> Result<()> {
    let program = process::build("xtask")?;
    process::run(Command::new(program).arg("chaos").args(&rest.arguments))
}

fn release(task: &str) -> Command {
    let mut command = process::cargo();
    command.args(["run", "--quiet", "--release", "--package", "xtask", "--features", "lab", "--"]);
    command.arg(task);
    command
}
