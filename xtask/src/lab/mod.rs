//! What is measured and simulated, in a release build.

mod bare;
mod counting;
mod drain;
mod latency;
mod memory;
mod simulate;
mod target;

use anyhow::Result;
use clap::{Args, Subcommand};

pub(crate) use simulate::{SimulateArgs, run as simulate};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    bench: Bench,
}

#[derive(Debug, Subcommand)]
enum Bench {
    /// How fast a relay empties an outbox into a publisher that does nothing.
    Drain(drain::DrainArgs),
    /// From commit to publish in one process, and what an idle relay costs.
    Latency(latency::LatencyArgs),
}

pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    match &args.bench {
        Bench::Drain(args) => runtime.block_on(drain::run(args)),
        Bench::Latency(args) => runtime.block_on(latency::run(args)),
    }
}
