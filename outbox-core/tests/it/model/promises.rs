//! What must hold whatever happens, and what must happen at all.

use stateright::Property;

use super::protocol::Protocol;
use super::relay::{Relay, TenureState};
use super::state::State;
use super::store::{MESSAGES, Row, VerdictAnswer};

pub(super) const NOTHING_LOST: &str = "nothing is lost";
pub(super) const FENCED: &str = "a verdict under a stale epoch changes nothing";
pub(super) const IN_ORDER: &str = "messages of a key are first accepted in their order";
pub(super) const ONLY_THE_OWNER_SENDS: &str = "a relay that runs sends only what it owns";
pub(super) const ONCE_WITHOUT_FAULTS: &str = "without faults nothing is sent twice";

pub(super) fn properties() -> Vec<Property<Protocol>> {
    let lost = |_: &Protocol, state: &State| {
        let settled = |row: &usize| state.store.rows[*row] == Row::Settled;
        (0..MESSAGES).filter(settled).all(|row| state.accepted[row].is_some())
    };
    let ordered = |_: &Protocol, state: &State| {
        let alive = |row: &usize| state.store.rows[*row] != Row::Dead;
        let arrivals = (0..MESSAGES).filter(alive).map(|row| state.accepted[row]);
        arrivals.map(|at| at.unwrap_or(MESSAGES)).is_sorted()
    };
    let once = |model: &Protocol, state: &State| !state.duplicates || state.faults < model.faults;
    vec![
        Property::always(NOTHING_LOST, lost),
        Property::always(FENCED, |_, state: &State| !state.store.stale_write),
        Property::always(IN_ORDER, ordered),
        Property::always(ONLY_THE_OWNER_SENDS, |_, state: &State| !state.trespassed),
        Property::always(ONCE_WITHOUT_FAULTS, once),
        // What the model is about happens in it.
        Property::sometimes("taken over", |_, state: &State| {
            state.store.epoch > 1 && state.drains > 0
        }),
        Property::sometimes("handed over", |model: &Protocol, state: &State| {
            state.store.epoch > 1 && state.faults == model.faults
        }),
        Property::sometimes("a stale verdict is refused", |_, state: &State| {
            let settling = state.relays.iter().filter_map(|relay| relay.settling.as_ref());
            settling.into_iter().any(|(_, answer)| *answer == VerdictAnswer::EpochLost)
        }),
        Property::sometimes("a lost partition is worked off", |_, state: &State| {
            let lost = |relay: &Relay| {
                relay.tenure.is_some_and(|tenure| tenure.state == TenureState::Lost)
            };
            state.relays.iter().any(lost)
        }),
        Property::sometimes("a message dies", |_, state: &State| {
            state.store.rows.contains(&Row::Dead)
        }),
        Property::sometimes("a message arrives twice", |_, state: &State| state.duplicates),
        Property::sometimes("all is done", |_, state: &State| state.is_done()),
    ]
}
