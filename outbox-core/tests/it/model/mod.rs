//! A model of leases and settlements, checked for every run that there can be within small bounds.
//!
//! The simulator runs the real machine through many schedules, but never through all. Here the
//! protocol is written down once more, as small as it can be: a partition with the messages of one
//! key, relays that lease, fetch, publish and settle, each call in the steps between which something
//! else can happen, and faults: calls whose answers are lost or that take effect late, relays that
//! stand still or are killed, acknowledgements that are lost, leases that aren't renewed in time.
//! Time passes in ticks. Names are those of the code: [`store`] is the trait `Store`, [`relay`] what
//! the machine remembers.
//!
//! A model in which nothing can go wrong proves nothing, so each rule is broken once on purpose, and
//! the checker has to find out.

mod finish;
mod promises;
mod protocol;
mod relay;
mod state;
mod store;

use stateright::{Checker, HasDiscoveries, Model};

use finish::dead_end;
use promises::{FENCED, IN_ORDER, NOTHING_LOST, ONCE_WITHOUT_FAULTS, ONLY_THE_OWNER_SENDS};
use protocol::Protocol;
use state::State;

/// A rule that is broken on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sabotage {
    /// Verdicts are written whoever owns the partition.
    NoFence,
    /// A publish starts though the lease may end before it does.
    NoSelfStop,
    /// A lease counts from its answer instead of from its request.
    LeaseFromAnswer,
    /// A partition is handed over before its last settlement was written.
    ReleaseEarly,
    /// A page that was read before a settlement brings its rows back.
    ForgetSettled,
    /// What follows a message that failed goes on without it.
    Overtake,
    /// What got no answer counts as delivered.
    SettleUnconfirmed,
    /// A settlement that failed is not tried again.
    GiveUp,
}

fn protocol(faults: u8, drains: u8, sabotage: Option<Sabotage>) -> Protocol {
    Protocol { faults, drains, sabotage }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// One fault of any kind at any time, and a partition that is handed over at any time.
#[test]
fn every_run_within_bounds_keeps_every_promise() {
    let checker = protocol(1, 1, None).checker().threads(threads()).spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.unique_state_count() > 100_000, "{} states", checker.unique_state_count());
}

#[test]
fn every_run_can_finish() {
    for (faults, drains) in [(1, 0), (0, 1)] {
        let model = protocol(faults, drains, None);
        let dead_end = dead_end(&model, State::is_done);
        assert!(dead_end.is_none(), "this can't finish: {dead_end:#?}");
    }
}

#[test]
fn a_settlement_that_is_given_up_is_a_dead_end() {
    let model = protocol(1, 0, Some(Sabotage::GiveUp));
    assert!(dead_end(&model, State::is_done).is_some(), "nobody noticed");
}

#[test]
fn every_broken_rule_is_noticed() {
    for (sabotage, (faults, drains), property) in [
        (Sabotage::NoFence, (1, 0), FENCED),
        (Sabotage::NoSelfStop, (1, 0), ONLY_THE_OWNER_SENDS),
        (Sabotage::LeaseFromAnswer, (1, 0), ONLY_THE_OWNER_SENDS),
        (Sabotage::ReleaseEarly, (0, 1), ONCE_WITHOUT_FAULTS),
        (Sabotage::ForgetSettled, (0, 0), ONCE_WITHOUT_FAULTS),
        (Sabotage::Overtake, (0, 0), IN_ORDER),
        (Sabotage::SettleUnconfirmed, (1, 0), NOTHING_LOST),
    ] {
        let found = HasDiscoveries::AnyOf([property].into());
        let model = protocol(faults, drains, Some(sabotage));
        let checker = model.checker().finish_when(found).threads(threads()).spawn_bfs().join();
        assert!(
            checker.discovery(property).is_some(),
            "{sabotage:?} breaks {property:?}, and nobody noticed"
        );
    }
}
