//! `cargo xtask bench relay`: from PostgreSQL to a broker, against the slower of its two halves.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use clap::Args;
use outbox_core::relay::RelayConfig;

use super::bare;
use super::brokers::{Broker, Pair};
use super::figures::{median, rate};
use super::load::Load;
use super::relaying::{Relayed, relay_all};
use super::target::Target;

#[derive(Debug, Args)]
pub(crate) struct RelayArgs {
    /// Messages to relay in a round.
    #[arg(long, default_value_t = 50_000)]
    rows: u64,

    /// Bytes of each payload.
    #[arg(long, default_value_t = 512)]
    bytes: usize,

    /// Different keys.
    #[arg(long, default_value_t = 1000)]
    keys: u64,

    /// How often relay, bare drain and bare publish take turns.
    #[arg(long, default_value_t = 3)]
    rounds: usize,

    /// From which database.
    #[arg(long, value_enum, default_value = "postgres")]
    database: Target,

    /// To which brokers; all unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    brokers: Vec<Broker>,
}

pub(crate) async fn run(args: &RelayArgs) -> Result<()> {
    println!(
        "relaying {} messages of {} bytes, {} keys, {} rounds, from {}",
        args.rows,
        args.bytes,
        args.keys,
        args.rounds,
        args.database.name()
    );
    println!(
        "{:<20} {:>12} {:>12} {:>12} {:>7} {:>8} {:>10} {:>15}",
        "broker",
        "relay msg/s",
        "drain msg/s",
        "publish",
        "ratio",
        "in turn",
        "msgs/call",
        "statements/msg"
    );
    for broker in Broker::or_all(&args.brokers) {
        let pair = broker.connect().await?;
        let mut rounds = Vec::new();
        for _ in 0..args.rounds {
            rounds.push(round(&pair, args).await?);
        }
        print(broker, &rounds);
    }
    println!(
        "ratio: to the slower of both; in turn: to one after the other, on the same processors"
    );
    Ok(())
}

struct Round {
    relay: Relayed,
    drain: f64,
    publish: f64,
}

impl Round {
    fn ratio(&self) -> f64 {
        self.relay.rate / self.drain.min(self.publish)
    }

    /// What is left to who does both, one after the other.
    fn in_turn(&self) -> f64 {
        1.0 / (1.0 / self.drain + 1.0 / self.publish)
    }
}

async fn round(pair: &Pair, args: &RelayArgs) -> Result<Round> {
    let name = pair.destination().await?;
    let measured = take_turns(pair, args, &name).await;
    let removed = pair.bare.remove(&name).await;
    let round = measured?;
    removed?;
    Ok(round)
}

async fn take_turns(pair: &Pair, args: &RelayArgs, name: &str) -> Result<Round> {
    let load = Load { topic: name, messages: args.rows, bytes: args.bytes, keys: args.keys };
    let (batch, calls) = (pair.adapter.limits().messages, RelayConfig::default().concurrency);
    let sides = pair.sides();
    let few = Load { messages: (batch * calls) as u64, ..load.clone() };
    for side in &sides {
        // Connections are made, and the destination is found.
        side.publish_all(&few.messages()?, batch, calls).await?;
    }
    let [_, client] = sides;
    let messages = load.messages()?;
    let began = Instant::now();
    client.publish_all(&messages, batch, calls).await?;
    let publish = rate(args.rows, began.elapsed());

    let subject = args.database.prepare().await?;
    load.enqueue(subject.as_ref()).await?;
    let drain = bare::measure(subject.as_ref(), args.rows).await?;
    load.enqueue(subject.as_ref()).await?;
    let relay = relay_all(subject.as_ref(), Arc::clone(&pair.adapter), args.rows).await?;
    Ok(Round { relay, drain, publish })
}

fn print(broker: Broker, rounds: &[Round]) {
    println!(
        "{:<20} {:>12.0} {:>12.0} {:>12.0} {:>7.2} {:>8.2} {:>10.0} {:>15.5}",
        broker.name(),
        median(rounds, |round| round.relay.rate),
        median(rounds, |round| round.drain),
        median(rounds, |round| round.publish),
        median(rounds, Round::ratio),
        median(rounds, |round| round.relay.rate / round.in_turn()),
        median(rounds, |round| round.relay.batch),
        median(rounds, |round| round.relay.statements),
    );
}
