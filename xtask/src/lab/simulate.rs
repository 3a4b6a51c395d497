//! `cargo xtask simulate`: many schedules of the simulator, on all processors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Args;
use outbox_testkit::sim::{Scenario, Tally, run as run_schedule};

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// How many schedules.
    #[arg(long, default_value_t = 100_000)]
    schedules: u64,

    /// The seed of the first one; the others follow. With `--schedules 1` this replays one.
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// More failures than these say nothing new.
const SHOWN: usize = 5;

pub(crate) fn run(args: &SimulateArgs) -> Result<()> {
    let began = Instant::now();
    let workers = thread::available_parallelism()?.get();
    println!(
        "simulating {} schedules from seed {} on {workers} threads",
        args.schedules, args.seed
    );
    let next = AtomicU64::new(args.seed);
    let end = args.seed + args.schedules;
    let result = Mutex::new((Tally::default(), Vec::new()));
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut tally = Tally::default();
                while let Some(seed) = claim(&next, end) {
                    let scenario = Scenario::draw(seed);
                    let outcome = run_schedule(&scenario);
                    tally += outcome.tally;
                    if !outcome.problems.is_empty() {
                        result.lock().expect("nobody panics").1.push((scenario, outcome.problems));
                    }
                }
                result.lock().expect("nobody panics").0 += tally;
            });
        }
    });
    let (tally, failures) = result.into_inner().expect("nobody panics");
    println!("{tally}");
    for (scenario, problems) in failures.iter().take(SHOWN) {
        println!("seed {} failed: {scenario:?}", scenario.seed);
        for problem in problems {
            println!("    {problem}");
        }
        println!("    again: cargo xtask simulate --schedules 1 --seed {}", scenario.seed);
    }
    println!("{} schedules failed; {:.0} s", failures.len(), began.elapsed().as_secs_f32());
    judge(&tally, failures.len(), args.schedules)
}

fn claim(next: &AtomicU64, end: u64) -> Option<u64> {
    let seed = next.fetch_add(1, Ordering::Relaxed);
    (seed < end).then_some(seed)
}

/// A run that reached nothing proves nothing.
fn judge(tally: &Tally, failures: usize, schedules: u64) -> Result<()> {
    if failures > 0 {
        bail!("{failures} schedules broke a promise");
    }
    let unreached: Vec<&str> = [
        ("schedules without faults", tally.faultless_schedules),
        ("rows found behind the cursor", tally.late_rows),
        ("stale verdicts refused", tally.stale_verdicts_refused),
        ("leases taken over", tally.leases_taken_over),
        ("crashes", tally.crashes),
        ("zombie sends", tally.zombie_sends),
        ("dead letters", tally.dead_lettered),
        ("clean stops", tally.clean_stops),
    ]
    .into_iter()
    .filter_map(|(what, count)| (count == 0).then_some(what))
    .collect();
    if schedules >= 1000 && !unreached.is_empty() {
        bail!("the run proves too little; never reached: {}", unreached.join(", "));
    }
    Ok(())
}
