//! Counts over schedules: what was reached.

use std::fmt;
use std::ops::AddAssign;

use outbox_core::relay::{DeadLetterPolicy, Event, StoreCall};
use outbox_core::{Ordering, StoreErrorKind, Visibility};

use super::Scenario;
use crate::memory::Counters;

macro_rules! tally {
    ($($(#[$doc:meta])* $name:ident),* $(,)?) => {
        /// What happened in one schedule, or in many.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub struct Tally {
            $($(#[$doc])* pub $name: u64,)*
            /// What went wrong around the relays, by kind.
            pub faults: [FaultCount; FaultKind::ALL.len()],
        }

        impl Tally {
            /// Each count with its name.
            pub fn counts(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
                [$((stringify!($name), self.$name)),*].into_iter()
            }
        }

        impl AddAssign for Tally {
            fn add_assign(&mut self, other: Self) {
                $(self.$name += other.$name;)*
                for (fault, more) in self.faults.iter_mut().zip(other.faults) {
                    *fault += more;
                }
            }
        }
    };
}

tally! {
    /// Schedules run.
    schedules,
    /// Schedules with nothing that could make a duplicate: their duplicates must be none.
    faultless_schedules,
    /// Schedules with one writer at a time.
    ordered_schedules,
    /// Schedules whose database tells which transactions are open.
    snapshot_schedules,
    /// Schedules whose database tells visibility by age.
    age_schedules,
    /// Schedules whose brokers take runs of a key.
    prefix_schedules,
    /// Schedules whose brokers take one message of a key at a time.
    independent_schedules,
    /// Schedules in which what comes after a dead message waits for it.
    parking_schedules,
    /// Schedules with more than three relays.
    crowded_schedules,
    /// Happenings worked off.
    steps,
    /// Messages committed.
    committed,
    /// Transactions rolled back.
    rolled_back,
    /// Messages that arrived.
    delivered,
    /// Messages given up, and not put back.
    dead_lettered,
    /// Messages moved after one that died.
    parked,
    /// Messages that were not moved, as that one had been put back.
    not_parked,
    /// Dead letters put back.
    redriven,
    /// Rows given up because they can't be read whole.
    unreadable,
    /// Arrivals beyond the first.
    duplicates,
    /// Pages that looked behind their cursors.
    looks,
    /// Rows that they returned.
    looked_at_rows,
    /// Those of them that had become visible behind a cursor.
    late_rows,
    /// Looks with more rows than fit.
    truncated_looks,
    /// Times that the horizon advanced.
    horizons_advanced,
    /// Partitions read from their start again.
    partitions_reset,
    /// Lanes put aside.
    lanes_held,
    /// Lanes read again.
    lanes_reopened,
    /// Pages without rows because too many lanes wait.
    pages_full_of_held_lanes,
    /// Times that a relay had done all that it could read.
    caught_up,
    /// Leases taken, from nobody or from another.
    leases_taken,
    /// Leases taken from an owner who had not given them up.
    leases_taken_over,
    /// Partitions handed back by those who went on.
    leases_shed,
    /// Partitions handed back at the end.
    leases_handed_back,
    /// Partitions lost at work.
    leases_lost,
    /// Leases that ran out before they were renewed.
    leases_expired,
    /// Leases that ran out though messages waited, none of them on its way.
    self_stops,
    /// Sends of a relay that stood still or whose lease a clock ended, after another had taken over.
    former_owner_sends,
    /// Verdicts under a stale epoch that the store refused.
    stale_verdicts_refused,
    /// Verdicts for rows that had gone.
    verdicts_gone,
    /// Deliveries of rows that had gone.
    deliveries_gone,
    /// Attempts that were counted and tried again.
    retries,
    /// Times that a destination became unavailable.
    breakers_opened,
    /// Batches sent to see whether it works again.
    breakers_half_open,
    /// Times that it did.
    breakers_closed,
    /// Batches of half the size or less with a message that had found the broker unavailable.
    suspects_halved,
    /// Such messages that travelled alone in the end.
    suspects_alone,
    /// Times that a broker asked to wait.
    throttled,
    /// Publishes whose outcome was unknown.
    unknown_outcomes,
    /// Messages accepted whose acknowledgement was lost.
    acknowledgements_lost,
    /// Messages that a relay sent after it was killed or had stood still.
    zombie_sends,
    /// Messages that were reported as stuck.
    stuck,
    /// Lease calls that failed.
    lease_failures,
    /// Readings that failed.
    read_failures,
    /// Settlements that failed.
    settle_failures,
    /// Those of all three that were conflicts.
    conflicts,
    /// Times that the store worked again.
    store_recoveries,
    /// Relays that stopped after handing everything back.
    clean_stops,
    /// Relays that had to stop before they could.
    late_stops,
}

/// What goes wrong around a relay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// A relay stops in good order.
    Leaves,
    /// A relay is killed.
    Crashes,
    /// A relay stands still.
    Pauses,
    /// The database is away.
    DatabaseOutages,
    /// The broker is away.
    BrokerOutages,
    /// Connections to the broker break with acknowledgements under way.
    BrokerResets,
    /// A call of the store fails without effect.
    FailedCalls,
    /// A call of the store takes effect, but its answer is lost.
    LostReplies,
    /// A settlement takes effect in part.
    PartialSettlements,
    /// A settlement is answered in part.
    PartialAnswers,
    /// The database's clock is corrected forward.
    ClockStepsForward,
    /// The database's clock is corrected back.
    ClockStepsBack,
    /// The database's clock goes half a lease forward, or more.
    ClockLeapsForward,
    /// The database's clock goes half a lease back, or more.
    ClockLeapsBack,
    /// Places are given out again, which happens while nothing is pending.
    Rewinds,
    /// Dead letters are put back.
    Redrives,
}

impl FaultKind {
    /// Every one of them.
    pub const ALL: [Self; 16] = [
        Self::Leaves,
        Self::Crashes,
        Self::Pauses,
        Self::DatabaseOutages,
        Self::BrokerOutages,
        Self::BrokerResets,
        Self::FailedCalls,
        Self::LostReplies,
        Self::PartialSettlements,
        Self::PartialAnswers,
        Self::ClockStepsForward,
        Self::ClockStepsBack,
        Self::ClockLeapsForward,
        Self::ClockLeapsBack,
        Self::Rewinds,
        Self::Redrives,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Leaves => "leaves",
            Self::Crashes => "crashes",
            Self::Pauses => "pauses",
            Self::DatabaseOutages => "database_outages",
            Self::BrokerOutages => "broker_outages",
            Self::BrokerResets => "broker_resets",
            Self::FailedCalls => "failed_calls",
            Self::LostReplies => "lost_replies",
            Self::PartialSettlements => "partial_settlements",
            Self::PartialAnswers => "partial_answers",
            Self::ClockStepsForward => "clock_steps_forward",
            Self::ClockStepsBack => "clock_steps_back",
            Self::ClockLeapsForward => "clock_leaps_forward",
            Self::ClockLeapsBack => "clock_leaps_back",
            Self::Rewinds => "rewinds",
            Self::Redrives => "redrives",
        }
    }
}

/// How often a kind of fault struck.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FaultCount {
    /// In how many schedules.
    pub schedules: u64,
    /// How often.
    pub times: u64,
    /// How often while messages were being published or settled.
    pub in_flight: u64,
}

impl AddAssign for FaultCount {
    fn add_assign(&mut self, other: Self) {
        self.schedules += other.schedules;
        self.times += other.times;
        self.in_flight += other.in_flight;
    }
}

impl Tally {
    pub(super) fn of(scenario: &Scenario) -> Self {
        let one = u64::from;
        Self {
            schedules: 1,
            faultless_schedules: one(!scenario.faults.can_duplicate()),
            ordered_schedules: one(scenario.visibility == Visibility::Ordered),
            snapshot_schedules: one(scenario.visibility == Visibility::Snapshot),
            age_schedules: one(matches!(scenario.visibility, Visibility::Within(_))),
            prefix_schedules: one(scenario.ordering == Ordering::PrefixPerKey),
            independent_schedules: one(scenario.ordering == Ordering::Independent),
            parking_schedules: one(scenario.config.dead_letters == DeadLetterPolicy::Park),
            crowded_schedules: one(scenario.relays > 3),
            ..Self::default()
        }
    }

    /// How often faults of that kind struck.
    pub fn fault(&self, kind: FaultKind) -> FaultCount {
        self.faults[kind as usize]
    }

    /// So many schedules reach everything that there is to reach.
    pub const ENOUGH: u64 = 4000;

    /// The names of what never happened: a run that didn't reach it proves nothing about it.
    pub fn unreached(&self) -> Vec<String> {
        let counts = self.counts().filter(|(_, count)| *count == 0);
        let mut names: Vec<String> = counts.map(|(name, _)| name.replace('_', " ")).collect();
        for kind in FaultKind::ALL {
            let FaultCount { times, in_flight, .. } = self.fault(kind);
            if times == 0 {
                names.push(kind.name().replace('_', " "));
            } else if in_flight == 0 && kind != FaultKind::Rewinds {
                names.push(kind.name().replace('_', " ") + " in flight");
            }
        }
        names
    }

    pub(super) fn struck(&mut self, kind: FaultKind, in_flight: bool) {
        let fault = &mut self.faults[kind as usize];
        // A tally is of one schedule until it is added to others.
        fault.schedules = 1;
        fault.times += 1;
        fault.in_flight += u64::from(in_flight);
    }

    pub(super) fn event(&mut self, event: &Event) {
        let count = |of: &mut u64| *of += 1;
        match event {
            Event::Lost(_) => count(&mut self.leases_lost),
            Event::Expired(_) => count(&mut self.leases_expired),
            Event::Fetched { looked, late, .. } => {
                self.late_rows += *late as u64;
                self.looked_at_rows += *looked as u64;
            }
            Event::Retried { .. } => count(&mut self.retries),
            Event::BreakerOpened(..) => count(&mut self.breakers_opened),
            Event::BreakerClosed(_) => count(&mut self.breakers_closed),
            Event::Throttled(..) => count(&mut self.throttled),
            Event::StoreFailed(call, failure) => {
                count(match call {
                    StoreCall::Lease => &mut self.lease_failures,
                    StoreCall::Read => &mut self.read_failures,
                    StoreCall::Settle => &mut self.settle_failures,
                });
                self.conflicts += u64::from(failure.kind == StoreErrorKind::Conflict);
            }
            Event::StoreRecovered(_) => count(&mut self.store_recoveries),
            Event::Stuck { .. } => count(&mut self.stuck),
            Event::CaughtUp => count(&mut self.caught_up),
            Event::Stopped { clean: true } => count(&mut self.clean_stops),
            Event::Stopped { clean: false } => count(&mut self.late_stops),
            _ => {}
        }
    }

    pub(super) fn counters(&mut self, counters: &Counters) {
        self.leases_taken += counters.leases_taken;
        self.leases_taken_over += counters.leases_taken_over;
        self.stale_verdicts_refused += counters.stale_refused;
        self.verdicts_gone += counters.verdicts_gone;
        self.parked += counters.parked;
        self.not_parked += counters.not_parked;
        self.deliveries_gone += counters.delivered_gone;
    }
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, count) in self.counts() {
            writeln!(f, "{count:>14}  {}", name.replace('_', " "))?;
        }
        writeln!(f, "{:>14}  {:>12}  {:>12}  fault", "in flight", "times", "schedules")?;
        for kind in FaultKind::ALL {
            let FaultCount { schedules, times, in_flight } = self.fault(kind);
            let name = kind.name().replace('_', " ");
            writeln!(f, "{in_flight:>14}  {times:>12}  {schedules:>12}  {name}")?;
        }
        Ok(())
    }
}
