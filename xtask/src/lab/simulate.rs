//! `cargo xtask simulate`: many schedules of the simulator, on all processors.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use clap::Args;
use outbox_testkit::sim::{FaultKind, Scenario, Tally, run as run_schedule};
use serde_json::{Map, Value, json};

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// How many schedules.
    #[arg(long, default_value_t = 100_000)]
    schedules: u64,

    /// The seed of the first one; the others follow. With `--schedules 1` this replays one.
    #[arg(long, default_value_t = 0)]
    seed: u64,

    /// Print the counts as JSON.
    #[arg(long)]
    json: bool,
}

/// What came of all schedules.
#[derive(Debug, Default)]
struct Run {
    tally: Tally,
    /// Schedules that broke a promise, and which.
    failures: Vec<(Scenario, Vec<String>)>,
}

/// More failures than these say nothing new.
const SHOWN: usize = 5;

pub(crate) fn run(args: &SimulateArgs) -> Result<()> {
    let began = Instant::now();
    let workers = thread::available_parallelism()?.get();
    if !args.json {
        println!(
            "simulating {} schedules from seed {} on {workers} threads",
            args.schedules, args.seed
        );
    }
    let mut run = simulate(args, workers);
    run.failures.sort_by_key(|(scenario, _)| scenario.seed);
    if args.json {
        println!("{:#}", run.to_json(args, began.elapsed()));
    } else {
        run.print(began.elapsed());
    }
    run.judge(args.schedules)
}

fn simulate(args: &SimulateArgs, workers: usize) -> Run {
    let next = AtomicU64::new(args.seed);
    let end = args.seed.saturating_add(args.schedules);
    let run = Mutex::new(Run::default());
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                let mut tally = Tally::default();
                while let Some(seed) = claim(&next, end) {
                    let scenario = Scenario::draw(seed);
                    let outcome = run_schedule(&scenario);
                    tally += outcome.tally;
                    if !outcome.problems.is_empty() {
                        let failure = (scenario, outcome.problems);
                        run.lock().expect("nobody panics").failures.push(failure);
                    }
                }
                run.lock().expect("nobody panics").tally += tally;
            });
        }
    });
    run.into_inner().expect("nobody panics")
}

fn claim(next: &AtomicU64, end: u64) -> Option<u64> {
    let seed = next.fetch_add(1, Ordering::Relaxed);
    (seed < end).then_some(seed)
}

fn again(scenario: &Scenario) -> String {
    format!("cargo xtask simulate --schedules 1 --seed {}", scenario.seed)
}

impl Run {
    fn print(&self, took: Duration) {
        println!("{}", self.tally);
        for (scenario, problems) in self.failures.iter().take(SHOWN) {
            println!("seed {} failed: {scenario:?}", scenario.seed);
            for problem in problems {
                println!("    {problem}");
            }
            println!("    again: {}", again(scenario));
        }
        println!("{} schedules failed; {:.0} s", self.failures.len(), took.as_secs_f32());
    }

    fn to_json(&self, args: &SimulateArgs, took: Duration) -> Value {
        let counts: Map<String, Value> =
            self.tally.counts().map(|(name, count)| (name.to_owned(), count.into())).collect();
        let fault = |kind: FaultKind| {
            let faulted = self.tally.fault(kind);
            let value = json!({
                "schedules": faulted.schedules,
                "times": faulted.times,
                "in_flight": faulted.in_flight,
            });
            (kind.name().to_owned(), value)
        };
        let failure = |(scenario, problems): &(Scenario, Vec<String>)| json!({ "seed": scenario.seed, "problems": problems, "again": again(scenario) });
        json!({
            "seed": args.seed,
            "seconds": took.as_secs_f32(),
            "counts": counts,
            "faults": FaultKind::ALL.into_iter().map(fault).collect::<Map<_, _>>(),
            "unreached": self.tally.unreached(),
            "failures": self.failures.iter().map(failure).collect::<Vec<_>>(),
        })
    }

    /// A run that reached nothing proves nothing.
    fn judge(&self, schedules: u64) -> Result<()> {
        if !self.failures.is_empty() {
            bail!("{} schedules broke a promise", self.failures.len());
        }
        let unreached = self.tally.unreached();
        if schedules >= Tally::ENOUGH && !unreached.is_empty() {
            bail!("the run proves too little; never reached: {}", unreached.join(", "));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_reaches_nothing_fails_by_name() {
        let mut run = Run::default();
        let error = run.judge(Tally::ENOUGH).unwrap_err().to_string();
        assert!(error.contains("late rows") && error.contains("crashes"), "{error}");
        run.tally.late_rows = 1;
        run.tally.faults[FaultKind::Crashes as usize].times = 1;
        let error = run.judge(Tally::ENOUGH).unwrap_err().to_string();
        assert!(!error.contains("late rows") && error.contains("crashes in flight"), "{error}");
        // A few schedules can't reach everything.
        run.judge(1).unwrap();
    }

    #[test]
    fn a_broken_promise_fails_whatever_was_reached() {
        let failures = vec![(Scenario::draw(7), vec!["lost".to_owned()])];
        let error = Run { tally: Tally::default(), failures }.judge(1).unwrap_err().to_string();
        assert!(error.contains("1 schedules broke a promise"), "{error}");
    }

    #[test]
    fn what_is_printed_can_be_read_by_programs() {
        let args = SimulateArgs { schedules: 3, seed: 5, json: true };
        let printed = simulate(&args, 2).to_json(&args, Duration::from_secs(1));
        assert_eq!((&printed["seed"], &printed["counts"]["schedules"]), (&json!(5), &json!(3)));
        assert_eq!(printed["failures"], json!([]));
        assert!(printed["faults"]["crashes"]["in_flight"].is_u64(), "{printed}");
    }
}
