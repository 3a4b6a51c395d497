//! `cargo xtask bench latency`: from commit to publish, and what idling costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use async_trait::async_trait;
use clap::Args;
use outbox_core::{Message, Outcome, Publisher, Reason, Relay};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::memory;
use super::target::Target;

#[derive(Debug, Args)]
pub(crate) struct LatencyArgs {
    /// Messages, one after the other.
    #[arg(long, default_value_t = 200)]
    messages: usize,

    /// Seconds of idling.
    #[arg(long, default_value_t = 10)]
    idle: u64,

    /// Which databases; all unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    databases: Vec<Target>,
}

pub(crate) async fn run(args: &LatencyArgs) -> Result<()> {
    let chosen = if args.databases.is_empty() { &Target::ALL[..] } else { &args.databases };
    println!(
        "{:<14} {:>14} {:>14} {:>10} {:>18}",
        "database", "median ms", "99 % ms", "idle CPU", "idle statements/s"
    );
    for target in chosen {
        measure(*target, args).await?;
    }
    Ok(())
}

async fn measure(target: Target, args: &LatencyArgs) -> Result<()> {
    let subject = target.prepare().await?;
    let (store, _, statements) = subject.store().await?;
    let (arrivals, mut arrived) = mpsc::unbounded_channel();
    let relay = Relay::builder(store, Arc::new(Signal(arrivals))).waker(subject.waker()).build()?;
    let stop = CancellationToken::new();
    let running = tokio::spawn({
        let stop = stop.clone();
        async move { relay.run(stop).await }
    });
    let mut times = Vec::new();
    for n in 0..args.messages {
        // Apart enough for the relay to have gone back to sleep.
        tokio::time::sleep(Duration::from_millis(30)).await;
        let message = Message::bytes("bench", "x").key(n).build()?;
        subject.enqueue(&[message]).await?;
        let committed = Instant::now();
        let at: Instant = arrived.recv().await.context("the relay has ended")?;
        times.push(at.saturating_duration_since(committed));
    }
    times.sort_unstable();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let (cpu, asked) = (memory::processor_time(), statements.get());
    let idle = Duration::from_secs(args.idle);
    tokio::time::sleep(idle).await;
    let used =
        memory::processor_time().zip(cpu).map(|(after, before)| after.saturating_sub(before));
    let share = used.map_or(f64::NAN, |used| used.as_secs_f64() / idle.as_secs_f64() * 100.0);
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    let per_second = (statements.get() - asked) as f64 / idle.as_secs_f64();
    stop.cancel();
    running.await?;
    let millis = |part: usize| times[times.len() * part / 100].as_secs_f64() * 1000.0;
    println!(
        "{:<14} {:>14.2} {:>14.2} {:>8.1} % {:>18.1}",
        target.name(),
        millis(50),
        millis(99),
        share,
        per_second
    );
    Ok(())
}

/// Notes when each message arrives.
struct Signal(mpsc::UnboundedSender<Instant>);

#[async_trait]
impl Publisher for Signal {
    async fn publish(&self, batch: &[Arc<Message>], _: Instant, outcomes: &mut [Outcome]) {
        let now = Instant::now();
        for _ in batch {
            // Nobody listens any more once the measurement is over.
            let _ = self.0.send(now);
        }
        outcomes.fill(Outcome::Delivered);
    }

    async fn check(&self) -> Result<(), Reason> {
        Ok(())
    }

    async fn close(&self) -> Result<(), Reason> {
        Ok(())
    }
}
