//! The simulator: relays over the reference outbox in virtual time.
//!
//! A *schedule* is drawn from a seed: writers that commit late, overlap and roll back; relays that
//! join, leave, crash and stand still; a database and a broker that fail, answer late or not at
//! all. It runs in a millisecond or so, without a clock, and the same seed always does the same.
//! Afterwards the [history checker](crate::history) judges it.
//!
//! ```
//! let outcome = outbox_testkit::sim::run(&outbox_testkit::sim::Scenario::draw(7));
//! assert!(outcome.problems.is_empty(), "{:?}", outcome.problems);
//! ```

mod broker;
mod faults;
mod queue;
mod relay;
mod scenario;
mod store;
mod tally;
mod watch;
mod world;
mod writers;

pub use scenario::{Faults, Scenario};
pub use tally::{FaultCount, FaultKind, Tally};

/// What came of a schedule.
#[derive(Debug, Clone)]
#[must_use]
pub struct Outcome {
    /// What must not be, in words; empty if every invariant held.
    pub problems: Vec<String>,
    /// What happened, to see that the schedule was not an empty one.
    pub tally: Tally,
}

/// Runs one schedule to its end.
pub fn run(scenario: &Scenario) -> Outcome {
    world::World::new(scenario.clone()).run()
}
