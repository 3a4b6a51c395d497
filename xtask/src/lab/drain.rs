//! `cargo xtask bench drain`: a relay with a publisher that does nothing, against a bare loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use async_trait::async_trait;
use clap::Args;
use outbox_core::relay::RelayConfig;
use outbox_core::{Message, Outcome, Publisher, Reason, Relay};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::target::{Subject, Target};
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

/// Messages of one transaction while loading.
const CHUNK: u64 = 5000;

pub(crate) async fn run(args: &DrainArgs) -> Result<()> {
    let all = [Target::Sqlite, Target::Postgres, Target::PostgresNewest, Target::Mariadb];
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
    relay: f64,
    bare: f64,
    statements: f64,
    peak: Option<u64>,
}

async fn round(target: Target, args: &DrainArgs) -> Result<Round> {
    let subject = target.prepare().await?;
    load(subject.as_ref(), args).await?;
    let (store, _, _) = subject.store().await?;
    let began = Instant::now();
    let drained = bare::drain(store.as_ref(), RelayConfig::default().window_messages / 4).await?;
    let bare = rate(drained, began.elapsed());
    ensure!(drained == args.rows, "the bare loop drained {drained} of {}", args.rows);
    drop(store);

    load(subject.as_ref(), args).await?;
    memory::reset_peak();
    let (store, admin, statements) = subject.store().await?;
    let before = statements.get();
    let publisher = Arc::new(Null { left: AtomicU64::new(args.rows), done: Notify::new() });
    let relay = Relay::builder(store, Arc::clone(&publisher) as Arc<dyn Publisher>).build()?;
    let stop = CancellationToken::new();
    let began = Instant::now();
    let finish = async {
        publisher.done.notified().await;
        stop.cancel();
    };
    let (_, ()) = tokio::join!(relay.run(stop.clone()), finish);
    let relay = rate(args.rows, began.elapsed());
    let left = admin.stats().await?.depth;
    ensure!(left == 0, "the relay left {left} messages");
    #[expect(clippy::cast_precision_loss, reason = "a ratio of counts far below 2^52")]
    let statements = (statements.get() - before) as f64 / args.rows as f64;
    Ok(Round { relay, bare, statements, peak: memory::peak() })
}

async fn load(subject: &dyn Subject, args: &DrainArgs) -> Result<()> {
    let payload = bytes::Bytes::from(vec![b'x'; args.bytes]);
    let mut next = 0;
    while next < args.rows {
        let until = (next + CHUNK).min(args.rows);
        let message = |n: u64| {
            Message::bytes("bench", payload.clone())
                .key(n % args.keys)
                .message_type("bench")
                .build()
        };
        let messages: Vec<Message> = (next..until).map(message).collect::<Result<_, _>>()?;
        subject.enqueue(&messages).await?;
        next = until;
    }
    Ok(())
}

fn rate(messages: u64, time: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let messages = messages as f64;
    messages / time.as_secs_f64()
}

fn print(target: Target, rounds: &[Round]) {
    let median = |value: fn(&Round) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    let peak = rounds.iter().filter_map(|round| round.peak).max();
    println!(
        "{:<14} {:>12.0} {:>12.0} {:>7.2} {:>15.5} {:>12}",
        target.name(),
        median(|round| round.relay),
        median(|round| round.bare),
        median(|round| round.relay / round.bare),
        median(|round| round.statements),
        peak.map_or_else(|| "unknown".to_owned(), |bytes| format!("{} MiB", bytes >> 20)),
    );
}

/// Says delivered and does nothing.
struct Null {
    left: AtomicU64,
    done: Notify,
}

#[async_trait]
impl Publisher for Null {
    fn ordering(&self) -> outbox_core::Ordering {
        outbox_core::Ordering::PrefixPerKey
    }

    async fn publish(&self, batch: &[Arc<Message>], _: Instant, outcomes: &mut [Outcome]) {
        outcomes.fill(Outcome::Delivered);
        let count = batch.len() as u64;
        if self.left.fetch_sub(count, Ordering::Relaxed) == count {
            self.done.notify_one();
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        Ok(())
    }

    async fn close(&self) -> Result<(), Reason> {
        Ok(())
    }
}
