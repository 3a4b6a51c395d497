//! One run: the faults one after the other, then the drain, then the judge.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::Pair;
use super::cast::Cast;
use super::judge::{Evidence, judge};
use super::logs::Told;
use super::plan::{Fault, Plan, Step};
use super::recovery::{PATIENCE, in_flight, recovered};
use super::relays::describe;
use super::report::{Happened, Judged};

/// What happened, for the report.
#[derive(Debug)]
pub(super) struct Run {
    /// Of the store, and of the broker; so is the next.
    pub(super) versions: [String; 2],
    pub(super) durability: [String; 2],
    pub(super) happened: Vec<Happened>,
    /// Dead letters that were put back.
    pub(super) put_back: u64,
    pub(super) took: Duration,
}

pub(super) async fn run_pair(pair: Pair, program: PathBuf) -> Result<Judged> {
    let plan = Plan::draw(pair.seed, pair.length(), pair.store, pair.broker, pair.relays);
    let mut cast = Cast::assemble(&pair, &plan, program).await?;
    let begun = Instant::now();
    let mut run = Run {
        versions: [cast.store.version().await?, cast.broker.version()?],
        durability: [cast.store.durability().await?, cast.broker.durability().to_owned()],
        happened: Vec::new(),
        put_back: 0,
        took: Duration::ZERO,
    };
    let mut evidence = Evidence { open: cast.topic().to_owned(), ..Evidence::default() };
    for step in &plan.steps {
        happen(&mut cast, step, &mut run, &mut evidence).await;
    }
    evidence.pending = cast.drain().await?;
    run.took = begun.elapsed();
    gather(&mut cast, &mut evidence).await?;
    let verdict = judge(&evidence);
    let judged = Judged { pair, run, evidence, verdict };
    if !judged.passed() {
        println!("  the relays' logs are in {}", cast.keep().display());
    }
    Ok(judged)
}

async fn happen(cast: &mut Cast, step: &Step, run: &mut Run, evidence: &mut Evidence) {
    let place = std::sync::Arc::clone(&cast.store.place);
    let topic = cast.topic().to_owned();
    let watched = std::sync::Arc::clone(&cast.writers);
    let pausing = tokio::time::sleep(step.pause);
    tokio::select! {
        () = pausing => {}
        () = cast.watch() => {}
    }
    let in_flight = in_flight(&*place, &topic).await;
    let struck = cast.strike(step).await;
    match struck {
        Ok(struck) => {
            evidence.stale += struck.stale;
            evidence.redriven.extend(struck.redriven);
            run.put_back += struck.put_back;
            evidence.kills += u64::from(step.fault == Fault::RelayKilled);
        }
        Err(error) => evidence.wrong.push(format!("{}: {error:#}", step.fault)),
    }
    let recovery = tokio::select! {
        recovery = recovered(&*place, &topic) => recovery,
        () = cast.watch() => None,
    };
    if recovery.is_none() {
        let behind = watched.pending.load(std::sync::atomic::Ordering::Relaxed);
        let seconds = PATIENCE.as_secs();
        let wrong = format!("{}: {behind} still pending after {seconds} s", step.fault);
        evidence.wrong.push(wrong);
    }
    run.happened.push(Happened { step: *step, in_flight, recovery });
}

/// Asks everybody, once all is quiet.
async fn gather(cast: &mut Cast, evidence: &mut Evidence) -> Result<()> {
    for (number, relay) in cast.relays.iter().enumerate() {
        evidence.told += Told::read(&relay.log()?);
        for end in relay.ends() {
            match end.code() {
                // Our signal ended it, or it did so in order, or what it needs wasn't there when it
                // was started.
                None | Some(0 | 3 | 4) => {}
                // It was asked to end, and had no time to finish.
                Some(1) => evidence.kills += 1,
                Some(_) => {
                    evidence.wrong.push(format!("relay {number} ended with {}", describe(end)));
                }
            }
        }
    }
    evidence.wrong.extend(cast.end_relays().await?);
    let ledger = cast.store.place.numbers("SELECT number FROM ledger").await?;
    evidence.ledger = ledger.into_iter().collect::<BTreeSet<_>>();
    evidence.written = cast.writers.written();
    evidence.dead = cast.dead().await?;
    evidence.purged = std::mem::take(&mut cast.purged);
    evidence.arrived = cast.arrived().await;
    Ok(())
}
