//! `cargo xtask bench publish`: each adapter against the same client without it.

use std::ops::AddAssign;
use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;

use super::brokers::{Broker, Pair, Side};
use super::figures::{count, median, rate};
use super::load::Load;
use super::memory;

#[derive(Debug, Args)]
pub(crate) struct PublishArgs {
    /// Messages that each side publishes in a round.
    #[arg(long, default_value_t = 20_000)]
    messages: u64,

    /// Bytes of each payload.
    #[arg(long, default_value_t = 512)]
    bytes: usize,

    /// Different keys.
    #[arg(long, default_value_t = 1000)]
    keys: u64,

    /// Messages of one call; as many as the adapter takes unless given.
    #[arg(long)]
    batch: Option<usize>,

    /// Calls at once.
    #[arg(long, default_value_t = 1)]
    calls: usize,

    /// Rounds, each to a new destination. Within one, adapter and bare client take short turns.
    #[arg(long, default_value_t = 7)]
    rounds: usize,

    /// Which brokers; all unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    brokers: Vec<Broker>,
}

pub(crate) async fn run(args: &PublishArgs) -> Result<()> {
    println!(
        "publishing {} messages of {} bytes, {} keys, {} calls at once, {} rounds",
        args.messages, args.bytes, args.keys, args.calls, args.rounds
    );
    println!(
        "{:<20} {:>6} {:>14} {:>12} {:>7} {:>15} {:>12}",
        "broker", "batch", "adapter msg/s", "bare msg/s", "ratio", "adapter µs/msg", "bare µs/msg"
    );
    for broker in Broker::or_all(&args.brokers) {
        let pair = broker.connect().await?;
        let batch = args.batch.unwrap_or_else(|| pair.adapter.limits().messages);
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            rounds.push(round(&pair, args, batch).await?);
        }
        print(broker, batch, args.messages, &rounds);
    }
    println!(
        "ratio: median of the rounds; µs/msg: processor time of this process, not the broker's"
    );
    Ok(())
}

/// What publishing took.
#[derive(Debug, Clone, Copy, Default)]
struct Cost {
    time: Duration,
    /// Seconds; not a number where that can't be known.
    processor: f64,
}

impl AddAssign for Cost {
    fn add_assign(&mut self, other: Self) {
        self.time += other.time;
        self.processor += other.processor;
    }
}

#[derive(Debug, Default)]
struct Round {
    adapter: Cost,
    bare: Cost,
}

async fn round(pair: &Pair, args: &PublishArgs, batch: usize) -> Result<Round> {
    let name = pair.destination().await?;
    let measured = take_turns(pair, args, &name, batch).await;
    let removed = pair.bare.remove(&name).await;
    let round = measured?;
    removed?;
    Ok(round)
}

/// Batches of one turn, for each call that goes on at once.
const TURN: usize = 4;

/// The turns are short, so that both have their share of whatever else the machine does.
async fn take_turns(pair: &Pair, args: &PublishArgs, name: &str, batch: usize) -> Result<Round> {
    let load = |messages| Load { topic: name, messages, bytes: args.bytes, keys: args.keys };
    let calls = args.calls;
    let turn = (TURN * batch * calls) as u64;
    let [adapter, bare] = &pair.sides();
    // Connections are made, and the destination is found.
    measure(adapter, &load((batch * calls) as u64), batch, calls).await?;
    measure(bare, &load((batch * calls) as u64), batch, calls).await?;
    let mut round = Round::default();
    let (mut left, mut adapter_first) = (args.messages, true);
    while left > 0 {
        let load = load(left.min(turn));
        if adapter_first {
            round.adapter += measure(adapter, &load, batch, calls).await?;
            round.bare += measure(bare, &load, batch, calls).await?;
        } else {
            round.bare += measure(bare, &load, batch, calls).await?;
            round.adapter += measure(adapter, &load, batch, calls).await?;
        }
        left -= load.messages;
        adapter_first = !adapter_first;
    }
    Ok(round)
}

async fn measure(side: &Side, load: &Load<'_>, batch: usize, calls: usize) -> Result<Cost> {
    let messages = load.messages()?;
    let before = memory::processor_time();
    let began = Instant::now();
    side.publish_all(&messages, batch, calls).await?;
    let time = began.elapsed();
    let used = memory::processor_time().zip(before);
    let used = used.map(|(after, before)| after.saturating_sub(before));
    Ok(Cost { time, processor: used.map_or(f64::NAN, |used| used.as_secs_f64()) })
}

fn print(broker: Broker, batch: usize, messages: u64, rounds: &[Round]) {
    let micros = |side: fn(&Round) -> Cost| {
        let used: f64 = rounds.iter().map(|round| side(round).processor).sum();
        used * 1e6 / count(messages * rounds.len() as u64)
    };
    println!(
        "{:<20} {:>6} {:>14.0} {:>12.0} {:>7.2} {:>15.1} {:>12.1}",
        broker.name(),
        batch,
        median(rounds, |round| rate(messages, round.adapter.time)),
        median(rounds, |round| rate(messages, round.bare.time)),
        median(rounds, |round| round.bare.time.as_secs_f64() / round.adapter.time.as_secs_f64()),
        micros(|round| round.adapter),
        micros(|round| round.bare),
    );
}
