//! Relays: each a machine, with what it has under way.

use std::collections::HashMap;
use std::time::Duration;

use outbox_core::BatchLimits;
use outbox_core::RelayId;
use outbox_core::relay::{
    BatchId, Command, Destination, DestinationSpec, Event, Input, Machine, Setup, StoreCall,
};
use uuid::Uuid;

use super::broker::Sending;
use super::faults::Fault;
use super::queue::{Happening, slot};
use super::store::Call;
use super::tally::FaultKind;
use super::watch::Watch;
use super::world::World;

#[derive(Debug, Default)]
pub(super) struct Relay {
    /// Grows at each start, so that nothing reaches a relay that was meant for its predecessor.
    pub(super) run: u64,
    pub(super) id: Option<RelayId>,
    pub(super) machine: Option<Machine>,
    pub(super) paused: bool,
    /// What arrived while it stood still.
    inbox: Vec<Input>,
    /// Which calls of the store are under way.
    pub(super) calling: [bool; 3],
    /// Connections that broke without having been used since.
    pub(super) broken: [bool; 3],
    pub(super) sending: HashMap<BatchId, Sending>,
    /// How often its connections to the broker will break while they are in use.
    pub(super) breaks: usize,
    /// How often they did: outages that only this relay meets.
    pub(super) resets: u32,
    /// It wants to be called then.
    pub(super) timer_at: Option<Duration>,
    pub(super) stopping: bool,
    /// How many calls of the store were made at one instant.
    pub(super) calls: (Duration, u32),
    pub(super) watch: Watch,
}

impl Relay {
    pub(super) fn goes_on_as(&self, id: RelayId) -> bool {
        self.machine.is_some() && self.id == Some(id)
    }

    /// Whether something is being published or settled.
    pub(super) fn in_flight(&self) -> bool {
        !self.sending.is_empty() || self.calling[slot(StoreCall::Settle)]
    }
}

impl World {
    pub(super) fn start(&mut self, relay: usize) {
        if self.relays[relay].machine.is_some() {
            if self.relays[relay].stopping {
                let later = self.now + Duration::from_millis(50);
                self.queue.push(later, Happening::Fault(Fault::Start(relay)));
            }
            return;
        }
        let limits = BatchLimits {
            messages: self.rng.usize(1..9),
            bytes: [150, 100_000][self.rng.usize(..2)],
        };
        let id = RelayId(Uuid::from_u128(u128::from(self.rng.u64(..))));
        let setup = Setup {
            config: self.scenario.config,
            relay: id,
            visibility: self.scenario.visibility,
            destinations: (0..self.scenario.destinations)
                .map(|_| DestinationSpec { ordering: self.scenario.ordering, limits })
                .collect(),
            route: Box::new(|topic| Destination(topic.parse().expect("topics are numbers"))),
            seed: self.rng.u64(..),
        };
        let machine = Machine::new(setup, self.now).expect("scenarios have valid settings");
        let run = self.relays[relay].run + 1;
        self.relays[relay] =
            Relay { run, id: Some(id), machine: Some(machine), ..Relay::default() };
        self.tell(relay, Input::Timeout);
    }

    pub(super) fn leave(&mut self, relay: usize) {
        let deadline = self.now + self.scenario.config.publish_timeout * 2;
        let state = &mut self.relays[relay];
        if state.machine.is_some() && !std::mem::replace(&mut state.stopping, true) {
            self.tell(relay, Input::Stop(deadline));
        }
    }

    pub(super) fn crash(&mut self, relay: usize) {
        let in_flight = self.relays[relay].in_flight();
        if self.relays[relay].machine.take().is_none() {
            return;
        }
        self.struck(FaultKind::Crashes, in_flight);
        self.disturbances += 1;
        self.tally.zombie_sends += self.flush_buffers(relay, false);
        let run = self.relays[relay].run + 1;
        self.relays[relay] = Relay { run, ..Relay::default() };
    }

    pub(super) fn pause(&mut self, relay: usize, length: Duration) {
        let now = self.now;
        let state = &mut self.relays[relay];
        if state.machine.is_none() || state.paused {
            return;
        }
        state.paused = true;
        state.timer_at = None;
        let in_flight = state.in_flight();
        self.struck(FaultKind::Pauses, in_flight);
        self.disturbances += 1;
        self.queue.push(now + length, Happening::Fault(Fault::Resume(relay)));
    }

    pub(super) fn resume(&mut self, relay: usize) {
        if !std::mem::take(&mut self.relays[relay].paused) {
            return;
        }
        self.tally.zombie_sends += self.flush_buffers(relay, false);
        for input in std::mem::take(&mut self.relays[relay].inbox) {
            self.tell(relay, input);
        }
        self.tell(relay, Input::Timeout);
    }

    /// An answer to a call of the store.
    pub(super) fn arrive(&mut self, relay: usize, run: u64, input: Input) {
        if self.relays[relay].run == run {
            self.tell(relay, input);
        }
    }

    pub(super) fn tell(&mut self, relay: usize, input: Input) {
        let now = self.now;
        let state = &mut self.relays[relay];
        if state.paused {
            state.inbox.push(input);
            return;
        }
        match &input {
            Input::Leased(_) => state.calling[0] = false,
            Input::Fetched(_) | Input::Reread(_) => state.calling[1] = false,
            Input::Settled(_) => state.calling[2] = false,
            _ => {}
        }
        let Some(machine) = &mut state.machine else { return };
        Watch::answer(&input, &mut self.tally);
        machine.handle(now, input);
        self.pump(relay);
    }

    /// Does what the machine wants until it wants nothing more.
    fn pump(&mut self, relay: usize) {
        let now = self.now;
        loop {
            let Some(machine) = &mut self.relays[relay].machine else { return };
            if let Some(event) = machine.poll_event() {
                self.observe(relay, &event);
                continue;
            }
            match machine.poll_command(now) {
                Some(Command::Lease(request)) => self.call(relay, Call::Lease(request)),
                Some(Command::Fetch(request)) => self.call(relay, Call::Fetch(request)),
                Some(Command::Reread(request)) => self.call(relay, Call::Reread(request)),
                Some(Command::Settle(request)) => self.call(relay, Call::Settle(request)),
                Some(Command::Publish(batch)) => self.publish(relay, batch),
                None => break,
            }
        }
        let state = &mut self.relays[relay];
        let Some(machine) = &state.machine else { return };
        if machine.is_stopped() {
            (state.machine, state.timer_at) = (None, None);
            return;
        }
        state.watch.held(machine.held_lanes(), &mut self.tally);
        state.timer_at = machine.poll_timeout();
        if state.timer_at.is_some_and(|at| at <= now) {
            let problem = format!("relay {relay} is busy doing nothing at {now:?}: {machine:?}");
            // Time has to go on for the schedule to end.
            state.timer_at = Some(now + Duration::from_millis(1));
            self.problem(problem);
        }
    }

    /// Calls the relays that wanted to be called now.
    pub(super) fn timers(&mut self) {
        for relay in 0..self.relays.len() {
            if self.relays[relay].timer_at.take_if(|at| *at <= self.now).is_some() {
                self.tell(relay, Input::Timeout);
            }
        }
    }

    fn observe(&mut self, relay: usize, event: &Event) {
        self.tally.event(event);
        let state = &mut self.relays[relay];
        state.watch.event(event);
        match event {
            Event::Released(_) if state.stopping => self.tally.leases_handed_back += 1,
            Event::Released(_) => self.tally.leases_shed += 1,
            Event::Expired(_) => {
                self.disturbances += 1;
                let waits = state.machine.as_ref().is_some_and(|machine| machine.in_memory() > 0);
                let stopped = waits && state.sending.is_empty() && state.watch.is_well();
                self.tally.self_stops += u64::from(stopped);
            }
            Event::StoreFailed(..) => self.disturbances += 1,
            _ => {}
        }
    }
}
