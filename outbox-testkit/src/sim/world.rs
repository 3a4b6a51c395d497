//! One schedule from its beginning to its judgement.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use outbox_core::relay::DeadLetterPolicy;
use uuid::Uuid;

use super::broker::Nature;
use super::queue::{Happening, Queue};
use super::relay::Relay;
use super::writers::{WRITING, Writer};
use super::{Outcome, Scenario, Tally};
use crate::history::{Bounds, History, Violation};
use crate::memory::{Broker, Database};

#[derive(Debug)]
pub(super) struct World {
    pub(super) scenario: Scenario,
    pub(super) rng: fastrand::Rng,
    pub(super) now: Duration,
    pub(super) queue: Queue,
    pub(super) database: Database,
    pub(super) database_down: bool,
    pub(super) broker: Broker,
    pub(super) broker_down: bool,
    pub(super) history: History,
    pub(super) relays: Vec<Relay>,
    pub(super) writers: Vec<Writer>,
    pub(super) open_writers: usize,
    /// They wait for the one transaction that there may be.
    pub(super) waiting_writers: Vec<usize>,
    pub(super) heartbeat: Option<Uuid>,
    pub(super) natures: HashMap<Uuid, Nature>,
    /// One for each destination.
    pub(super) topics: Vec<Arc<str>>,
    pub(super) defective: HashSet<Uuid>,
    pub(super) tally: Tally,
    /// How often the broker went away.
    pub(super) outages: u32,
    /// Crashes, pauses, lost leases and failed calls: each may repeat what was in flight.
    pub(super) disturbances: u64,
    /// Publishes that arrived though the relay doesn't know.
    pub(super) unknown: u64,
    /// What the database's clock, which is another than the relays', showed at the beginning; its
    /// steps change it.
    pub(super) database_epoch: Duration,
    /// The last fault ends then.
    pub(super) calm_at: Duration,
    problems: Vec<String>,
}

const DATABASE_EPOCH: Duration = Duration::from_secs(1_000_000);

/// Time to recover beyond leases and backoffs: for latencies, probes, and small windows.
const MARGIN: Duration = Duration::from_mins(1);

impl World {
    pub(super) fn new(scenario: Scenario) -> Self {
        let mut database = Database::new(scenario.partitions, scenario.visibility);
        if let Some(sabotage) = scenario.sabotage {
            database.sabotage(sabotage);
        }
        let mut world = Self {
            rng: fastrand::Rng::with_seed(scenario.seed ^ 0x5eed),
            now: Duration::ZERO,
            queue: Queue::default(),
            database,
            database_down: false,
            broker: Broker::new(),
            broker_down: false,
            history: History::new(),
            relays: (0..scenario.relays).map(|_| Relay::default()).collect(),
            writers: Vec::new(),
            open_writers: scenario.transactions,
            waiting_writers: Vec::new(),
            heartbeat: None,
            natures: HashMap::new(),
            topics: (0..scenario.destinations).map(|n| n.to_string().into()).collect(),
            defective: HashSet::new(),
            tally: Tally::of(&scenario),
            outages: 0,
            disturbances: 0,
            unknown: 0,
            database_epoch: DATABASE_EPOCH,
            calm_at: WRITING,
            problems: Vec::new(),
            scenario,
        };
        world.plan_writers();
        world.plan_faults();
        world
    }

    pub(super) fn run(mut self) -> Outcome {
        let slowest = self.scenario.config.lease * 4;
        let breaking =
            if self.scenario.faults.breaking > 0.0 { MARGIN * 4 } else { Duration::ZERO };
        let end = self.calm_at + slowest + MARGIN + breaking;
        while let Some(at) = self.next_at().filter(|at| *at <= end) {
            self.now = at;
            self.tally.steps += 1;
            match self.queue.pop_at(at) {
                Some(happening) => self.happen(happening),
                None => self.timers(),
            }
            if self.is_over() {
                break;
            }
        }
        self.judge()
    }

    fn next_at(&self) -> Option<Duration> {
        let timers = self.relays.iter().filter_map(|relay| relay.timer_at);
        timers.chain(self.queue.next_at()).min()
    }

    pub(super) fn problem(&mut self, problem: String) {
        if self.problems.len() < 10 {
            self.problems.push(problem);
        }
    }

    pub(super) fn database_now(&self) -> Duration {
        self.database_epoch + self.now
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Write(writer) => self.write(writer),
            Happening::Effect { relay, run, call, answered } => {
                self.effect(relay, run, &call, answered);
            }
            Happening::Arrive { relay, run, input } => self.arrive(relay, run, *input),
            Happening::Send { relay, run, batch, index } => {
                if self.relays[relay].run == run {
                    if self.relays[relay].paused {
                        self.skip(relay, batch);
                    } else {
                        self.send(relay, batch, index);
                    }
                }
            }
            Happening::Returned { relay, run, batch } => {
                if self.relays[relay].run == run {
                    self.returned(relay, batch);
                }
            }
            Happening::Heartbeat => self.heartbeat(),
            Happening::Fault(fault) => self.fault(fault),
        }
    }

    /// Everything is delivered or dead, and every relay has gone.
    fn is_over(&mut self) -> bool {
        let done =
            self.now > self.calm_at && self.open_writers == 0 && self.database.backlog() == 0;
        if !done {
            return false;
        }
        let relays = 0..self.relays.len();
        relays.for_each(|relay| self.leave(relay));
        self.relays.iter().all(|relay| relay.machine.is_none())
    }

    fn judge(mut self) -> Outcome {
        for message in self.database.dead() {
            self.history.dead_lettered(message.id());
        }
        if self.scenario.config.dead_letters == DeadLetterPolicy::Park {
            self.history.dead_letters_keep_their_place();
        }
        self.history.remaining(self.database.backlog() as u64);
        let faultless = !self.scenario.faults.can_duplicate();
        let bounds = if faultless { Bounds::NO_FAULTS } else { self.bounds() };
        let report = self.history.check(&bounds);
        // Two relays may work on one partition for a while after the clock has leapt.
        let may_overtake = self.scenario.faults.clock_leaps > 0;
        for violation in &report.violations {
            if !(may_overtake && matches!(violation, Violation::Order { .. })) {
                self.problem(violation.to_string());
            }
        }
        let stale = self.database.counters().stale_applied;
        if stale > 0 {
            self.problem(format!("{stale} verdicts were written under a stale epoch"));
        }
        self.judge_deaths();
        self.tally.committed = report.committed;
        self.tally.delivered = report.delivered;
        self.tally.dead_lettered = report.dead_lettered;
        self.tally.duplicates = report.duplicates;
        self.tally.counters(&self.database.counters());
        Outcome { problems: self.problems, tally: self.tally }
    }

    fn bounds(&self) -> Bounds {
        let config = &self.scenario.config;
        // Every partition read brings a first row, whatever room there is.
        let window = config.window_messages + usize::from(self.scenario.partitions);
        Bounds { window: window as u64, disturbances: self.disturbances, unknown: self.unknown }
    }

    /// A message may be given up because it was rejected, or after as many failures as allowed;
    /// never because of an outage. One that meets three outages alone, while others pass between
    /// them, can't be told from one that breaks connections: these three count as a failure.
    fn judge_deaths(&mut self) {
        let allowed = self.scenario.config.retry.max_attempts;
        for id in self.database.died().to_vec() {
            let failed_often = |nature: &Nature| {
                nature.was_rejected || nature.counted + nature.outages_met / 3 >= allowed
            };
            let justified = self.natures.get(&id).is_some_and(failed_often);
            if self.defective.contains(&id) {
                self.tally.unreadable += 1;
            } else if !justified {
                self.problem(format!("message {id} was given up without having failed so often"));
            }
        }
    }
}
