//! Everything a developer of this workspace runs: `cargo xtask help`.

#![expect(clippy::print_stdout, clippy::print_stderr, reason = "its output is its purpose")]

mod house;
#[cfg(feature = "lab")]
mod lab;
#[cfg(not(feature = "lab"))]
#[path = "relaunch.rs"]
mod lab;
mod lint;
mod mutants;
mod process;
mod services;
mod test;
mod tool;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

fn main() -> ExitCode {
    let done = match Xtask::parse().task {
        Task::Test(args) => test::run(&args),
        Task::Lint => lint::run(),
        Task::Simulate(args) => lab::simulate(&args),
        Task::Bench(args) => lab::bench(&args),
        Task::Chaos(args) => lab::chaos(&args),
        Task::Mutants(args) => mutants::run(&args),
        Task::Services(task) => services::run(&task),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything a developer of this workspace runs.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Xtask {
    #[command(subcommand)]
    task: Task,
}

#[derive(Debug, Subcommand)]
enum Task {
    /// Brings up the servers and runs every test.
    Test(test::TestArgs),
    /// Formatting, clippy, documentation, house rules and dependencies.
    Lint,
    /// Runs relays over a simulated database and broker, through many schedules of faults.
    Simulate(lab::SimulateArgs),
    /// Measures on real databases.
    Bench(lab::BenchArgs),
    /// Lets relays run over real servers while everything goes wrong, and judges what arrives.
    Chaos(lab::ChaosArgs),
    /// Takes each protection out, one at a time, and demands that a test notices.
    Mutants(mutants::MutantsArgs),
    /// Starts, stops and shows the servers that the tests use.
    #[command(subcommand)]
    Services(services::ServicesTask),
}
