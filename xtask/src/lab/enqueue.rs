//! `cargo xtask bench enqueue`: what an outbox costs the transactions that use it.

use std::time::{Duration, Instant};

use anyhow::Result;
use clap::Args;
use futures::future::try_join_all;
use outbox_core::Message;

use super::figures::{count, median, rate};
use super::load::Load;
use super::shop::{ACCOUNTS, Client, Purchase, SCHEMA, Stack};
use super::target::{Subject, Target};

#[derive(Debug, Args)]
pub(crate) struct EnqueueArgs {
    /// How often each is measured, in turn; the medians are printed.
    #[arg(long, default_value_t = 5)]
    rounds: usize,

    /// How long each is measured in a round.
    #[arg(long, default_value_t = 2)]
    seconds: u64,

    /// Clients that buy at the same time. SQLite has one writer at a time, and one client.
    #[arg(long, default_value_t = 4)]
    clients: u32,

    /// Messages of the transaction that enqueues in one call, and again one by one.
    #[arg(long, default_value_t = 1000)]
    messages: u64,

    /// Which databases; all unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    databases: Vec<Target>,

    /// Which ORMs; all unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    orms: Vec<Stack>,
}

pub(crate) async fn run(args: &EnqueueArgs) -> Result<()> {
    let databases = if args.databases.is_empty() { &Target::ALL[..] } else { &args.databases };
    let orms = if args.orms.is_empty() { &Stack::ALL[..] } else { &args.orms };
    println!(
        "{:<14} {:<7} {:>13} {:>9} {:>9} {:>13} {:>9}",
        "database", "ORM", "without, tx/s", "1 event", "10 events", "1 call, msg/s", "1 by 1"
    );
    for target in databases {
        for orm in orms {
            measure(*target, *orm, args).await?;
        }
    }
    println!("1 event, 10 events: transactions per second, against those without an outbox.");
    println!("1 by 1: messages per second, against those of one call.");
    Ok(())
}

/// What one round found.
#[derive(Debug)]
struct Round {
    without: f64,
    one: f64,
    ten: f64,
    together: f64,
    single: f64,
}

async fn measure(target: Target, orm: Stack, args: &EnqueueArgs) -> Result<()> {
    let subject = target.prepare().await?;
    prepare(&*subject).await?;
    let number = if target == Target::Sqlite { 1 } else { args.clients };
    let clients = orm.clients(target, subject.url(), subject.names(), number).await?;
    let mut service = Service { clients, orders: 0 };
    let time = Duration::from_secs(args.seconds);
    let load = Load { topic: "orders", messages: args.messages, bytes: 200, keys: 100 };
    // The first purchases fill caches and prepare statements.
    service.buy(Some(1), time / 4).await?;
    let mut rounds = Vec::new();
    for _ in 0..args.rounds {
        rounds.push(Round {
            without: service.buy(None, time).await?,
            one: service.buy(Some(1), time).await?,
            ten: service.buy(Some(10), time).await?,
            together: service.enqueue(&load, usize::MAX).await?,
            single: service.enqueue(&load, 1).await?,
        });
    }
    println!(
        "{:<14} {:<7} {:>13.0} {:>9.2} {:>9.2} {:>13.0} {:>9.2}",
        target.name(),
        orm.name(),
        median(&rounds, |round| round.without),
        median(&rounds, |round| round.one / round.without),
        median(&rounds, |round| round.ten / round.without),
        median(&rounds, |round| round.together),
        median(&rounds, |round| round.single / round.together),
    );
    Ok(())
}

async fn prepare(subject: &dyn Subject) -> Result<()> {
    for text in SCHEMA {
        subject.execute(text).await?;
    }
    let accounts: Vec<_> = (0..ACCOUNTS).map(|account| format!("({account}, 0)")).collect();
    subject.execute(&format!("INSERT INTO bench_accounts VALUES {}", accounts.join(", "))).await
}

struct Service {
    clients: Vec<Box<dyn Client>>,
    orders: i64,
}

impl Service {
    /// Transactions per second, with so many events or without an outbox.
    async fn buy(&mut self, events: Option<usize>, time: Duration) -> Result<f64> {
        let start = Instant::now();
        let number = i64::try_from(self.clients.len())?;
        let first = self.orders;
        let buying = self.clients.iter_mut().zip(0..).map(async |(client, place)| {
            let mut bought = 0;
            while start.elapsed() < time {
                let order = first + bought * number + place;
                // A client's accounts are its own, so that none waits for another one's row.
                let account = (bought * number + place) % ACCOUNTS;
                let purchase = Purchase { order, account };
                match events {
                    Some(events) => client.buy_and_emit(purchase, events).await?,
                    None => client.buy(purchase).await?,
                }
                bought += 1;
            }
            anyhow::Ok(bought)
        });
        let bought = try_join_all(buying).await?;
        let elapsed = start.elapsed();
        let most = bought.iter().copied().max().unwrap_or(0);
        self.orders = first + most * number;
        Ok(rate(bought.iter().sum::<i64>().unsigned_abs(), elapsed))
    }

    /// Messages per second that one client enqueues in one transaction.
    async fn enqueue(&mut self, load: &Load<'_>, chunk: usize) -> Result<f64> {
        let messages: Vec<Message> = load.fresh()?;
        let client = &mut self.clients[0];
        let start = Instant::now();
        client.enqueue(&messages, chunk).await?;
        Ok(count(load.messages) / start.elapsed().as_secs_f64())
    }
}
