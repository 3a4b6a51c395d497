//! What can happen next in the model.

use stateright::{Model, Property};

use super::relay::{Entry, Leasing, Relay};
use super::state::State;
use super::store::{MESSAGES, Row};
use super::{Sabotage, promises};

/// The bounds of the model, and what is broken in it on purpose.
#[derive(Debug, Clone)]
pub(super) struct Protocol {
    /// How many faults there may be, of any kinds.
    pub(super) faults: u8,
    /// How many partitions are handed over in good order.
    pub(super) drains: u8,
    pub(super) sabotage: Option<Sabotage>,
}

/// The longest that a publish takes.
const TIMEOUT: u8 = 1;

/// The index of a relay, not its identity.
type Index = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Time passes for all clocks. It costs a fault if a relay that runs loses its lease by it.
    Tick,
    /// A lease call takes effect; its answer is on its way.
    Lease(Index),
    Leased(Index),
    /// A fault: the answer is lost.
    LeaseFails(Index),
    Fetch(Index),
    Fetched(Index),
    Reread(Index, usize),
    Publish(Index, usize),
    /// The broker accepts the message and says so.
    Deliver(Index),
    /// A fault: it accepts the message, and its answer is lost.
    LoseAcknowledgement(Index),
    Failed(Index),
    /// The time for it is over.
    Unknown(Index),
    /// What a relay that stands still, or was killed, had in a buffer is accepted.
    Flush(Index),
    /// A settlement takes effect; its answer is on its way.
    Settle(Index),
    Settled(Index),
    /// A fault: the answer is lost.
    SettleFails(Index),
    /// A fault: the call is given up, and takes effect later.
    SettleLate(Index),
    LateSettlement,
    Drain(Index),
    /// A fault.
    Pause(Index),
    Resume(Index),
    /// A fault: it is killed, and starts again.
    Crash(Index),
}

impl Model for Protocol {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State::new(self.faults, self.drains)]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.push(Action::Tick);
        if state.late.is_some() {
            actions.push(Action::LateSettlement);
        }
        for (index, relay) in state.relays.iter().enumerate() {
            Self::in_the_world(state, index, relay, actions);
            if !relay.paused {
                self.in_the_relay(state, index, relay, actions);
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::Tick => next.tick()?,
            Action::LateSettlement => {
                let (relay, settlement) = next.late.take()?;
                next.store.settle(relay, &settlement, self.fenced());
            }
            action => self.act(&mut next, action)?,
        }
        Some(next.canonical())
    }

    fn properties(&self) -> Vec<Property<Self>> {
        promises::properties()
    }
}

impl Protocol {
    fn fenced(&self) -> bool {
        self.sabotage != Some(Sabotage::NoFence)
    }

    /// What happens to a relay, whatever it does.
    fn in_the_world(state: &State, index: Index, relay: &Relay, actions: &mut Vec<Action>) {
        let buffered = matches!(relay.flight(), Some((_, Entry::Flying { sent: false, .. })));
        if relay.buffer.is_some() || (relay.paused && buffered) {
            actions.push(Action::Flush(index));
        }
        if relay.paused {
            actions.push(Action::Resume(index));
        }
        if state.faults > 0 {
            actions.push(Action::Crash(index));
        }
    }

    /// What a relay that runs does, or is told.
    fn in_the_relay(&self, state: &State, index: Index, relay: &Relay, actions: &mut Vec<Action>) {
        let faulty = state.faults > 0;
        if faulty {
            actions.push(Action::Pause(index));
        }
        if relay.leasing.is_some() {
            actions.push(Action::Leased(index));
            if faulty {
                actions.push(Action::LeaseFails(index));
            }
        } else if relay.lease_call(self.sabotage).is_some() {
            actions.push(Action::Lease(index));
        }
        if relay.page.is_some() {
            actions.push(Action::Fetched(index));
        } else if relay.is_active() {
            let news = |(entry, row): (&Entry, &Row)| {
                *entry == Entry::Away && matches!(row, Row::Pending { .. })
            };
            if relay.entries.iter().zip(&state.store.rows).any(news) {
                actions.push(Action::Fetch(index));
            }
            let held = |row: &usize| relay.entries[*row] == Entry::Held;
            actions.extend((0..MESSAGES).filter(held).map(|row| Action::Reread(index, row)));
        }
        if let Some(row) = relay.publishable(TIMEOUT, self.sabotage) {
            actions.push(Action::Publish(index, row));
        }
        match relay.flight() {
            Some((_, Entry::Flying { sent: true, .. } | Entry::Flying { left: 0, .. })) => {
                actions.push(Action::Unknown(index));
            }
            Some((row, _)) => {
                actions.push(Action::Deliver(index));
                if row == 0 {
                    actions.push(Action::Failed(index));
                }
                if faulty {
                    actions.push(Action::LoseAcknowledgement(index));
                }
            }
            None => {}
        }
        if relay.settling.is_some() {
            actions.push(Action::Settled(index));
            if faulty {
                actions.push(Action::SettleFails(index));
            }
        } else if relay.settlement().is_some() {
            actions.push(Action::Settle(index));
            if faulty && state.late.is_none() {
                actions.push(Action::SettleLate(index));
            }
        }
        if state.drains > 0 && relay.is_active() {
            actions.push(Action::Drain(index));
        }
    }

    fn act(&self, next: &mut State, action: Action) -> Option<()> {
        let State { store, relays, faults, drains, .. } = next;
        match action {
            Action::Tick | Action::LateSettlement => {}
            Action::Lease(index) => {
                let relay = &mut relays[index];
                let answer = store.lease(relay.id, relay.lease_call(self.sabotage)?);
                relay.leasing = Some(Leasing { asked_ago: 0, answer });
            }
            Action::Leased(index) => relays[index].leased(self.sabotage),
            Action::LeaseFails(index) => {
                *faults -= 1;
                relays[index].leasing = None;
                relays[index].drop_waiting();
            }
            Action::Fetch(index) => relays[index].page = Some(store.page()),
            Action::Fetched(index) => relays[index].fetched(self.sabotage),
            Action::Reread(index, row) => relays[index].reread(row, store),
            Action::Publish(index, row) => relays[index].publish(row, TIMEOUT),
            Action::Deliver(index) => {
                let (row, _) = relays[index].flight()?;
                relays[index].entries[row] = Entry::Delivered;
                next.send(index, row);
            }
            Action::LoseAcknowledgement(index) => {
                *faults -= 1;
                let (row, _) = relays[index].flight()?;
                relays[index].unknown(self.sabotage);
                next.send(index, row);
            }
            Action::Failed(index) => relays[index].fail(self.sabotage),
            Action::Unknown(index) => relays[index].unknown(self.sabotage),
            Action::Flush(index) => next.flush(index)?,
            Action::Settle(index) => {
                let relay = &mut relays[index];
                let settlement = relay.settlement()?;
                let answer = store.settle(relay.id, &settlement, self.fenced());
                relay.settling = Some((settlement, answer));
            }
            Action::Settled(index) => relays[index].settled(),
            Action::SettleFails(index) => {
                *faults -= 1;
                relays[index].settle_failed(self.sabotage);
            }
            Action::SettleLate(index) => {
                *faults -= 1;
                let relay = &mut relays[index];
                next.late = Some((relay.id, relay.settlement()?));
                relay.settle_failed(self.sabotage);
            }
            Action::Drain(index) => {
                *drains -= 1;
                relays[index].drain();
            }
            Action::Pause(index) => {
                *faults -= 1;
                relays[index].paused = true;
            }
            Action::Resume(index) => relays[index].paused = false,
            Action::Crash(index) => {
                *faults -= 1;
                next.crash(index);
            }
        }
        Some(())
    }
}
