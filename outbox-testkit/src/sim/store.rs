//! Calls of the store: when they take effect, and what is answered.

use std::time::Duration;

use outbox_core::relay::{Input, StoreCall, StoreFailure};
use outbox_core::{
    FetchRequest, LeaseReport, LeaseRequest, Page, RelayId, RereadRequest, SettleRequest,
    StoreErrorKind,
};

use super::queue::{Happening, slot};
use super::tally::FaultKind;
use super::watch::Watch;
use super::world::World;
use crate::memory::Database;

/// In schedules with short looks they return one row in so many that they might: with a few dozen
/// messages no look is ever as long as a relay asks for.
const SHORT_LOOK: u32 = 4096;

#[derive(Debug, Clone)]
pub(super) enum Call {
    Lease(LeaseRequest),
    Fetch(FetchRequest),
    Reread(RereadRequest),
    Settle(SettleRequest),
}

impl Call {
    pub(super) fn kind(&self) -> StoreCall {
        match self {
            Self::Lease(_) => StoreCall::Lease,
            Self::Fetch(_) | Self::Reread(_) => StoreCall::Read,
            Self::Settle(_) => StoreCall::Settle,
        }
    }

    fn failure(&self, failure: StoreFailure) -> Input {
        match self {
            Self::Lease(_) => Input::Leased(Err(failure)),
            Self::Fetch(_) => Input::Fetched(Err(failure)),
            Self::Reread(_) => Input::Reread(Err(failure)),
            Self::Settle(_) => Input::Settled(Err(failure)),
        }
    }
}

impl World {
    pub(super) fn call(&mut self, relay: usize, call: Call) {
        let slot = slot(call.kind());
        let run = self.relays[relay].run;
        let busy = std::mem::replace(&mut self.relays[relay].calling[slot], true);
        let calls = &mut self.relays[relay].calls;
        *calls = if calls.0 == self.now { (self.now, calls.1 + 1) } else { (self.now, 1) };
        let crowded = calls.1 > 20;
        if crowded {
            self.problem(format!(
                "relay {relay} calls the store again and again at {:?}",
                self.now
            ));
        }
        if busy {
            self.problem(format!("relay {relay} has two {} calls under way", call.kind().name()));
        }
        let effect_at = self.now + self.latency();
        if std::mem::take(&mut self.relays[relay].broken[slot]) {
            let failure = call.failure(failure(StoreErrorKind::Unavailable));
            return self.answer(relay, run, effect_at, failure);
        }
        self.watch(relay, &call);
        if self.rng.f64() < self.scenario.faults.store_call {
            return self.fail(relay, run, effect_at, call);
        }
        let call = Box::new(call);
        self.queue.push(effect_at, Happening::Effect { relay, run, call, answered: true });
    }

    /// A call that fails: before its effect, after it, or in the middle.
    fn fail(&mut self, relay: usize, run: u64, effect_at: Duration, mut call: Call) {
        let in_flight = self.relays[relay].in_flight();
        let kinds = [StoreErrorKind::Unavailable, StoreErrorKind::Conflict, StoreErrorKind::Other];
        let kind = kinds[self.rng.usize(..kinds.len())];
        let fails = call.failure(failure(kind));
        if kind == StoreErrorKind::Unavailable && self.rng.bool() {
            // It takes effect all the same, perhaps long after the relay has given it up.
            let late = self.scenario.config.lease.mul_f64(self.rng.f64() * self.rng.f64() * 2.0);
            let partial = self.cut_short(&mut call);
            let struck =
                if partial { FaultKind::PartialSettlements } else { FaultKind::LostReplies };
            self.struck(struck, in_flight);
            let call = Box::new(call);
            let effect = Happening::Effect { relay, run, call, answered: false };
            self.queue.push(effect_at + late, effect);
            self.disturbances += 1;
        } else {
            self.struck(FaultKind::FailedCalls, in_flight);
        }
        self.answer(relay, run, effect_at, fails);
    }

    /// A settlement may be several statements, deliveries first, of which the last have no effect.
    fn cut_short(&mut self, call: &mut Call) -> bool {
        let Call::Settle(request) = call else { return false };
        let all = request.delivered.len() + request.verdicts.len();
        if all < 2 || self.rng.bool() {
            return false;
        }
        let done = self.rng.usize(1..all);
        let delivered = request.delivered.len();
        request.delivered.truncate(done);
        request.verdicts.truncate(done.saturating_sub(delivered));
        true
    }

    fn watch(&mut self, relay: usize, call: &Call) {
        let watch = &mut self.relays[relay].watch;
        match call {
            Call::Fetch(request) => watch.fetch(request, &mut self.tally),
            Call::Reread(request) => Watch::reread(request, &mut self.tally),
            Call::Lease(_) | Call::Settle(_) => {}
        }
    }

    fn answer(&mut self, relay: usize, run: u64, at: Duration, input: Input) {
        let at = at + self.latency();
        self.queue.push(at, Happening::Arrive { relay, run, input: Box::new(input) });
    }

    pub(super) fn effect(&mut self, relay: usize, run: u64, call: &Call, answered: bool) {
        let now = self.database_now();
        if self.database_down {
            if answered {
                let failure = call.failure(failure(StoreErrorKind::Unavailable));
                self.answer(relay, run, self.now, failure);
            }
            return;
        }
        let input = match call {
            Call::Lease(request) => Input::Leased(Ok(self.lease(now, request))),
            Call::Fetch(request) => Input::Fetched(Ok(self.fetch(now, request))),
            Call::Reread(request) => Input::Reread(Ok(self.database.reread(now, request))),
            Call::Settle(request) => {
                let mut report = self.database.settle(now, request);
                // A store that forgets an answer breaks its contract, but must not break the relay.
                if self.rng.f64() < self.scenario.faults.store_call / 4.0
                    && report.verdicts.pop().is_some()
                {
                    self.struck(FaultKind::PartialAnswers, true);
                    self.disturbances += 1;
                }
                Input::Settled(Ok(report))
            }
        };
        if answered {
            self.answer(relay, run, self.now, input);
        }
    }

    /// What a relay that goes on has published of a partition without settling it is read again by who
    /// takes it over. It need not tell: if it was about to hand it back, it may take it for that.
    fn lease(&mut self, now: Duration, request: &LeaseRequest) -> LeaseReport {
        let owners = |database: &Database| -> Vec<Option<RelayId>> {
            request.take.iter().map(|partition| database.owner(*partition)).collect()
        };
        let before = owners(&self.database);
        let report = self.database.lease(now, request);
        let former = before.into_iter().zip(owners(&self.database)).filter(|(was, is)| was != is);
        for former in former.filter_map(|(was, _)| was) {
            self.disturbances +=
                u64::from(self.relays.iter().any(|relay| relay.goes_on_as(former)));
        }
        report
    }

    fn fetch(&self, now: Duration, request: &FetchRequest) -> Page {
        if !self.scenario.short_looks {
            return self.database.fetch(now, request);
        }
        let look_limit = (request.look_limit / SHORT_LOOK).max(1);
        self.database.fetch(now, &FetchRequest { look_limit, ..request.clone() })
    }

    /// Mostly a few milliseconds, sometimes a few dozen, sometimes none.
    pub(super) fn latency(&mut self) -> Duration {
        let most = match self.rng.u8(..20) {
            0 => 40_000,
            // No time passes at all: a machine that spins would never end.
            1..4 => 1,
            _ => 4_000,
        };
        Duration::from_micros(self.rng.u64(..most))
    }
}

fn failure(kind: StoreErrorKind) -> StoreFailure {
    StoreFailure { kind, reason: "injected".into() }
}
