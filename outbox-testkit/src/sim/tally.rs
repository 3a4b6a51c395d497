//! Counts over schedules: what was reached.

use std::fmt;
use std::ops::AddAssign;

use outbox_core::relay::Event;

use crate::memory::Counters;

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What happened in one schedule, or in many.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Tally {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl AddAssign for Tally {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
            }
        }

        impl fmt::Display for Tally {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                $(writeln!(f, "{:>14}  {}", self.$name, stringify!($name).replace('_', " "))?;)*
                Ok(())
            }
        }
    };
}

tally! {
    /// Schedules run.
    schedules,
    /// Schedules with nothing that could make a duplicate.
    faultless_schedules,
    /// Happenings worked off.
    steps,
    /// Messages committed.
    committed,
    /// Transactions rolled back.
    rolled_back,
    /// Messages that arrived.
    delivered,
    /// Messages given up.
    dead_lettered,
    /// Arrivals beyond the first.
    duplicates,
    /// Duplicates in schedules without a fault: none.
    faultless_duplicates,
    /// Rows found behind a cursor.
    late_rows,
    /// Rows that looks behind the cursors returned.
    looked_at_rows,
    /// Leases taken, from nobody or from another.
    leases_taken,
    /// Leases taken from an owner who had not given them up.
    leases_taken_over,
    /// Partitions handed back.
    leases_released,
    /// Partitions lost at work.
    leases_lost,
    /// Leases that ran out before they were renewed.
    leases_expired,
    /// Verdicts under a stale epoch that the store refused.
    stale_verdicts_refused,
    /// Attempts that were counted and tried again.
    retries,
    /// Times that a destination became unavailable.
    breakers_opened,
    /// Times that a broker asked to wait.
    throttled,
    /// Store calls that failed.
    store_failures,
    /// Relays killed.
    crashes,
    /// Relays that stood still.
    pauses,
    /// Messages that a relay sent after it had stood still.
    zombie_sends,
    /// Outages of the database.
    database_outages,
    /// Outages of the broker.
    broker_outages,
    /// Places given out again.
    rewinds,
    /// Relays that stopped after handing everything back.
    clean_stops,
    /// Publishes whose outcome was unknown.
    unknown_outcomes,
    /// Messages that were reported as stuck.
    stuck,
}

impl Tally {
    pub(super) fn event(&mut self, event: &Event) {
        let count = |of: &mut u64| *of += 1;
        match event {
            Event::Released(_) => count(&mut self.leases_released),
            Event::Lost(_) => count(&mut self.leases_lost),
            Event::Expired(_) => count(&mut self.leases_expired),
            Event::Fetched { looked, late, .. } => {
                self.late_rows += *late as u64;
                self.looked_at_rows += *looked as u64;
            }
            Event::Retried { .. } => count(&mut self.retries),
            Event::BreakerOpened(..) => count(&mut self.breakers_opened),
            Event::Throttled(..) => count(&mut self.throttled),
            Event::StoreFailed(..) => count(&mut self.store_failures),
            Event::Stuck { .. } => count(&mut self.stuck),
            Event::Stopped { clean: true } => count(&mut self.clean_stops),
            _ => {}
        }
    }

    pub(super) fn counters(&mut self, counters: &Counters) {
        self.leases_taken += counters.leases_taken;
        self.leases_taken_over += counters.leases_taken_over;
        self.stale_verdicts_refused += counters.stale_refused;
    }
}
