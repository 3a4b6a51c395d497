//! Faults that strike at their time: relays, database, broker, clock.

use std::collections::HashSet;
use std::time::Duration;

use outbox_core::{DeadChange, DeadFilter, Visibility};

use super::queue::Happening;
use super::tally::FaultKind;
use super::world::World;
use super::writers::WRITING;

#[derive(Debug, Clone, Copy)]
pub(super) enum Fault {
    Start(usize),
    Leave(usize),
    Crash(usize),
    Pause(usize, Duration),
    Resume(usize),
    DatabaseDown(Duration),
    DatabaseUp,
    BrokerDown(Duration),
    BrokerUp,
    /// The connections of a relay to the broker break as soon as they are in use.
    BrokerReset(usize),
    /// The database's clock goes forward, or back.
    Clock(Duration, Step),
    Rewind,
    Redrive,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Step {
    Forward,
    Back,
}

/// An operator works until then.
const OPERATING: Duration = WRITING.saturating_mul(2);

impl World {
    /// Relays come and go in every schedule; what else happens is drawn.
    pub(super) fn plan_faults(&mut self) {
        let faults = self.scenario.faults;
        let relays = self.scenario.relays;
        let lease = self.scenario.config.lease;
        for relay in 0..relays {
            self.plan(Duration::from_millis(500), Fault::Start(relay));
        }
        for _ in 0..self.rng.usize(..3) {
            let relay = self.rng.usize(..relays);
            let at = self.plan(WRITING, Fault::Leave(relay));
            self.queue.push(at + lease / 2, Happening::Fault(Fault::Start(relay)));
        }
        for _ in 0..faults.crashes {
            let relay = self.rng.usize(..relays);
            let at = self.plan(WRITING, Fault::Crash(relay));
            let back = at + lease.mul_f64(self.rng.f64() * 2.0);
            self.queue.push(back, Happening::Fault(Fault::Start(relay)));
            self.calm(back);
        }
        for _ in 0..faults.pauses {
            let relay = self.rng.usize(..relays);
            let length = lease.mul_f64(self.rng.f64() * 3.0);
            let at = self.plan(WRITING, Fault::Pause(relay, length));
            self.calm(at + length);
        }
        for _ in 0..faults.database_outages {
            let length = lease.mul_f64(self.rng.f64() * 2.0);
            let at = self.plan(WRITING, Fault::DatabaseDown(length));
            self.calm(at + length);
        }
        for _ in 0..faults.broker_outages {
            let length = lease.mul_f64(self.rng.f64() * 2.5);
            let at = self.plan(WRITING, Fault::BrokerDown(length));
            self.calm(at + length);
        }
        for _ in 0..faults.broker_resets {
            let relay = self.rng.usize(..relays);
            self.plan(WRITING, Fault::BrokerReset(relay));
        }
        // Less than half a lease is a correction, more a leap.
        for (count, least, most) in
            [(faults.clock_steps, 0.0, 0.45), (faults.clock_leaps, 0.5, 4.0)]
        {
            for _ in 0..count {
                let length = lease.mul_f64(least + self.rng.f64() * (most - least));
                let step = if self.rng.bool() { Step::Forward } else { Step::Back };
                let at = self.plan(WRITING, Fault::Clock(length, step));
                // What was put off waits for longer by a clock that was set back.
                self.calm(at + length);
            }
        }
        for _ in 0..faults.rewinds {
            self.plan(WRITING, Fault::Rewind);
        }
        for _ in 0..self.scenario.redrives {
            let at = self.plan(OPERATING, Fault::Redrive);
            self.calm(at);
        }
        // Whoever left or was killed comes back, so that somebody finishes the work. A message that
        // breaks connections is only told from an outage by others that pass.
        if faults.breaking > 0.0 {
            self.queue.push(self.calm_at, Happening::Heartbeat);
        }
        for relay in 0..relays {
            self.queue.push(self.calm_at, Happening::Fault(Fault::Start(relay)));
        }
    }

    fn plan(&mut self, within: Duration, fault: Fault) -> Duration {
        let at = within.mul_f64(self.rng.f64());
        self.queue.push(at, Happening::Fault(fault));
        at
    }

    fn calm(&mut self, at: Duration) {
        self.calm_at = self.calm_at.max(at);
    }

    pub(super) fn fault(&mut self, fault: Fault) {
        match fault {
            Fault::Start(relay) => self.start(relay),
            Fault::Leave(relay) => {
                if self.relays[relay].machine.is_some() {
                    self.struck(FaultKind::Leaves, self.relays[relay].in_flight());
                }
                self.leave(relay);
            }
            Fault::Crash(relay) => self.crash(relay),
            Fault::Pause(relay, length) => self.pause(relay, length),
            Fault::Resume(relay) => self.resume(relay),
            Fault::DatabaseDown(length) => {
                self.struck(FaultKind::DatabaseOutages, self.in_flight());
                self.database_down = true;
                self.break_connections();
                self.queue.push(self.now + length, Happening::Fault(Fault::DatabaseUp));
            }
            Fault::DatabaseUp => self.database_down = false,
            Fault::BrokerDown(length) => {
                self.struck(FaultKind::BrokerOutages, self.in_flight());
                self.broker_down = true;
                self.outages += 1;
                self.queue.push(self.now + length, Happening::Fault(Fault::BrokerUp));
            }
            Fault::BrokerUp => self.broker_down = false,
            Fault::BrokerReset(relay) => self.relays[relay].breaks += 1,
            Fault::Clock(length, step) => self.step_clock(length, step),
            Fault::Rewind => self.rewind(),
            Fault::Redrive => self.redrive(),
        }
    }

    /// Counts a fault that struck, and whether it hit something that was under way.
    pub(super) fn struck(&mut self, fault: FaultKind, in_flight: bool) {
        self.tally.struck(fault, in_flight);
    }

    fn in_flight(&self) -> bool {
        self.relays.iter().any(super::relay::Relay::in_flight)
    }

    fn step_clock(&mut self, length: Duration, step: Step) {
        let leap = length >= self.scenario.config.lease / 2;
        let kind = match (leap, step) {
            (false, Step::Forward) => FaultKind::ClockStepsForward,
            (false, Step::Back) => FaultKind::ClockStepsBack,
            (true, Step::Forward) => FaultKind::ClockLeapsForward,
            (true, Step::Back) => FaultKind::ClockLeapsBack,
        };
        self.struck(kind, self.in_flight());
        match step {
            Step::Forward => self.database_epoch += length,
            Step::Back => self.database_epoch = self.database_epoch.saturating_sub(length),
        }
    }

    /// A restored database gives places out again. What was in it then is in it now, as this
    /// happens only when nothing is pending; and every connection breaks. Before the places of parked
    /// lanes it doesn't begin: with the dead letters the numbers came back that had been given out
    /// before them.
    fn rewind(&mut self) {
        if self.database.backlog() == 0 && self.database.open_transactions() == 0 {
            self.struck(FaultKind::Rewinds, self.in_flight());
            self.disturbances += 1;
            self.database.rewind(self.database.parked_up_to());
            self.break_connections();
        }
    }

    /// An operator puts dead letters back, of which some will pass this time.
    fn redrive(&mut self) {
        let waits = self.scenario.visibility == Visibility::Ordered
            && self.database.open_transactions() > 0;
        if self.database_down || waits {
            // Where there is one writer at a time, an operator waits for it like others.
            let later = self.now + Duration::from_millis(20);
            self.calm(later);
            return self.queue.push(later, Happening::Fault(Fault::Redrive));
        }
        let limit = self.rng.u32(1..5);
        let mut dead: Vec<_> = self.database.dead().map(|message| message.id()).collect();
        let change = DeadChange { limit, ..DeadChange::new("operator", DeadFilter::default()) };
        let back = self.database.redrive(self.database_now(), &change);
        let left: HashSet<_> = self.database.dead().map(|message| message.id()).collect();
        dead.retain(|id| !left.contains(id));
        if back != dead.len() as u64 {
            self.problem(format!("{back} messages were redriven, {} are back", dead.len()));
        }
        if !dead.is_empty() {
            self.struck(FaultKind::Redrives, self.in_flight());
        }
        for id in dead {
            self.tally.redriven += 1;
            self.history.redriven(id);
            let cured = self.rng.bool();
            if let Some(nature) = self.natures.get_mut(&id) {
                nature.redriven(cured);
            }
        }
    }

    fn break_connections(&mut self) {
        for relay in &mut self.relays {
            relay.broken = [true; 3];
        }
    }
}
