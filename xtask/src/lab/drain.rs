//! `cargo xtask bench drain`: a relay with a publisher that does nothing, against a bare loop.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use async_trait::async_trait;
use clap::Args;
use outbox_core::{Message, Outcome, Publisher, Reason};

use super::figures::median;
use super::load::Load;
use super::relaying::{Relayed, relay_all};
use super::target::Target;
use super::{bare, memory};

#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Messages to drain.
    #[arg(long, default_value_t = 100_000)]
    rows: u64,

    /// Bytes of each payload.
    #[arg(long, default_value_t = 512)]
    bytes: usize,

    /// Different keys.
    #[arg(long, default_value_t = 1000)]
    keys: u64,

    /// How often relay and bare loop take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// Which databases; all unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    databases: Vec<Target>,
}

pub(crate) async fn run(args: &DrainArgs) -> Result<()> {
    let all = Target::ALL;
    let chosen = if args.databases.is_empty() { &all[..] } else { &args.databases };
    println!(
        "draining {} messages of {} bytes, {} keys, {} rounds",
        args.rows, args.bytes, args.keys, args.rounds
    );
    println!(
        "{:<14} {:>12} {:>12} {:>7} {:>15} {:>12}",
        "database", "relay msg/s", "bare msg/s", "ratio", "statements/msg", "peak memory"
    );
    for target in chosen {
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            rounds.push(round(*target, args).await?);
        }
        print(*target, &rounds);
    }
    Ok(())
}

struct Round {
    relay: Relayed,
    bare: f64,
    peak: Option<u64>,
}

async fn round(target: Target, args: &DrainArgs) -> Result<Round> {
    let load = Load { topic: "bench", messages: args.rows, bytes: args.bytes, keys: args.keys };
    let subject = target.prepare().await?;
    load.enqueue(subject.as_ref()).await?;
    let bare = bare::measure(subject.as_ref(), args.rows).await?;
    load.enqueue(subject.as_ref()).await?;
    memory::reset_peak();
    let relay = relay_all(subject.as_ref(), Arc::new(Null), args.rows).await?;
    Ok(Round { relay, bare, peak: memory::peak() })
}

fn print(target: Target, rounds: &[Round]) {
    let peak = rounds.iter().filter_map(|round| round.peak).max();
    println!(
        "{:<14} {:>12.0} {:>12.0} {:>7.2} {:>15.5} {:>12}",
        target.name(),
        median(rounds, |round| round.relay.rate),
        median(rounds, |round| round.bare),
        median(rounds, |round| round.relay.rate / round.bare),
        median(rounds, |round| round.relay.statements),
        peak.map_or_else(|| "unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20)),
    );
}

/// Says delivered and does nothing.
struct Null;

#[async_trait]
impl Publisher for Null {
    fn ordering(&self) -> outbox_core::Ordering {
        outbox_core::Ordering::PrefixPerKey
    }

    async fn publish(&self, _: &[Arc<Message>], _: Instant, outcomes: &mut [Outcome]) {
        outcomes.fill(Outcome::Delivered);
    }

    async fn check(&self) -> Result<(), Reason> {
        Ok(())
    }

    async fn close(&self) -> Result<(), Reason> {
        Ok(())
    }
}
