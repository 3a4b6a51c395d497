//! `cargo xtask chaos`: relays, writers and real servers, while everything goes wrong.

mod brokers;
mod cast;
mod judge;
mod logs;
mod place;
mod plan;
mod probe;
mod program;
mod recovery;
mod relays;
mod report;
mod run;
mod stores;
mod strike;
mod writers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use plan::{BrokerKind, StoreKind};
use run::{Run, run_pair};

#[derive(Debug, Args)]
pub(crate) struct ChaosArgs {
    /// Which databases; all unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    store: Vec<StoreKind>,

    /// Which brokers; all unless given.
    #[arg(long, value_enum, value_delimiter = ',')]
    broker: Vec<BrokerKind>,

    /// About how long each pair of them runs.
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,

    /// What goes wrong is drawn from it; another each time unless given.
    #[arg(long)]
    seed: Option<u64>,

    /// How many relays: three to five.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(2..=8))]
    relays: u16,

    /// Where the reports are put, one JSON file for each pair.
    #[arg(long, value_name = "DIRECTORY")]
    reports: Option<PathBuf>,
}

/// What is run.
#[derive(Debug, Clone, Copy)]
struct Pair {
    store: StoreKind,
    broker: BrokerKind,
    minutes: f64,
    seed: u64,
    relays: usize,
}

impl Pair {
    fn store_name(&self) -> String {
        name(&self.store)
    }

    fn broker_name(&self) -> String {
        name(&self.broker)
    }

    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.minutes * 60.0)
    }

    /// The command that does the same again.
    fn again(&self) -> String {
        format!(
            "cargo xtask chaos --store {} --broker {} --minutes {} --seed {} --relays {}",
            self.store_name(),
            self.broker_name(),
            self.minutes,
            self.seed,
            self.relays
        )
    }
}

/// As the command line has it.
fn name(value: &impl ValueEnum) -> String {
    let value = value.to_possible_value().expect("none is hidden");
    value.get_name().to_owned()
}

pub(crate) fn chaos(args: &ChaosArgs) -> Result<()> {
    ensure!(args.minutes > 0.0 && args.minutes < 10_000.0, "--minutes is no length of a run");
    let program = program::build()?;
    let runtime = tokio::runtime::Runtime::new()?;
    let (mut runs, mut broken) = (0, Vec::new());
    for store in or_all(&args.store) {
        for broker in or_all(&args.broker) {
            let pair = Pair {
                store,
                broker,
                minutes: args.minutes,
                seed: args.seed.unwrap_or_else(|| u64::from(fastrand::u32(..))),
                relays: usize::from(args.relays),
            };
            println!("== {}", pair.again());
            runs += 1;
            let judged = match runtime.block_on(run_pair(pair, program.clone())) {
                Ok(judged) => judged,
                // What can't be judged is not well; the other pairs have their turn.
                Err(error) => {
                    println!("  BROKEN: {error:#}");
                    broken.push(pair.again());
                    continue;
                }
            };
            println!("{}", judged.table());
            if let Some(directory) = &args.reports {
                std::fs::create_dir_all(directory)?;
                let file =
                    format!("{}-{}-{}.json", pair.store_name(), pair.broker_name(), pair.seed);
                let text = format!("{:#}\n", judged.json());
                let file = directory.join(file);
                std::fs::write(&file, text).with_context(|| format!("no {}", file.display()))?;
            }
            if !judged.passed() {
                broken.push(pair.again());
            }
        }
    }
    if !broken.is_empty() {
        bail!("{} of {runs} runs broke a promise:\n{}", broken.len(), broken.join("\n"));
    }
    println!("{runs} runs, nothing broken");
    Ok(())
}

fn or_all<T: ValueEnum>(chosen: &[T]) -> Vec<T> {
    if chosen.is_empty() { T::value_variants().to_vec() } else { chosen.to_vec() }
}
