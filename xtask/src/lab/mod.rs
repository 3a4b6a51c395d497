//! What is measured and simulated, in a release build.

mod bare;
mod brokers;
mod chaos;
mod counting;
mod drain;
mod enqueue;
mod figures;
mod latency;
mod load;
mod memory;
mod publish;
mod relay;
mod relaying;
mod shop;
mod simulate;
mod target;

use anyhow::Result;
use clap::{Args, Subcommand};

pub(crate) use chaos::{ChaosArgs, chaos};
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
    /// What an outbox costs the transactions that use it, per ORM and database.
    Enqueue(enqueue::EnqueueArgs),
    /// From commit to publish in one process, and what an idle relay costs.
    Latency(latency::LatencyArgs),
    /// How fast each adapter publishes, against the same client without it.
    Publish(publish::PublishArgs),
    /// How fast one relay gets messages from a database to each broker.
    Relay(relay::RelayArgs),
}

pub(crate) fn bench(args: &BenchArgs) -> Result<()> {
    let runtime = tokio::runtime::Runtime::new()?;
    match &args.bench {
        Bench::Drain(args) => runtime.block_on(drain::run(args)),
        Bench::Enqueue(args) => runtime.block_on(enqueue::run(args)),
        Bench::Latency(args) => runtime.block_on(latency::run(args)),
        Bench::Publish(args) => runtime.block_on(publish::run(args)),
        Bench::Relay(args) => runtime.block_on(relay::run(args)),
    }
}
