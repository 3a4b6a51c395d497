//! Taking partitions over, standing down from them, and handing them back.

use std::time::Duration;

use super::command::{Command, Event, StoreCall, StoreFailure};
use super::lanes::HoldState;
use super::leases::TenureState;
use super::machine::{Ended, Machine};
use super::window::EntryState;
use crate::{LeaseReport, Partition, StoreErrorKind};

impl Machine {
    pub(super) fn next_lease(&mut self, now: Duration) -> Option<Command> {
        if self.leasing.is_some() || now < self.retry_of(StoreCall::Lease) {
            return None;
        }
        let drained = self.drained();
        let leaving = self.may_leave();
        let due = now >= self.leases.next_at || !drained.is_empty() || leaving;
        if !due || self.ended.is_some() {
            return None;
        }
        self.leasing = Some((self.asked(now), leaving));
        let sick = self.is_sick(now);
        let request = self.leases.request(now, &drained, (sick, leaving), &mut self.rng);
        Some(Command::Lease(request))
    }

    /// It stops, and nothing is on the way any more.
    pub(super) fn may_leave(&self) -> bool {
        self.stopping.is_some() && self.window.len() == 0 && self.flights.is_empty()
    }

    /// Partitions to hand back of which nothing is on the way any more.
    pub(super) fn drained(&self) -> Vec<Partition> {
        let mut drained = self.leases.partitions_in(TenureState::Draining);
        drained.retain(|partition| self.window.len_of(*partition) == 0);
        drained
    }

    /// All brokers have been out of reach for so long that others should publish instead.
    fn is_sick(&self, now: Duration) -> bool {
        let long = |since: Duration| now.saturating_sub(since) >= self.config.lease;
        self.destinations.iter().all(|state| state.down_since().is_some_and(long))
    }

    pub(super) fn leased(&mut self, now: Duration, answer: Result<LeaseReport, StoreFailure>) {
        let Some((asked, leaving)) = self.leasing.take() else { return };
        let report = match answer {
            Ok(report) => report,
            Err(failure) => return self.store_failed(now, StoreCall::Lease, failure),
        };
        self.store_worked(StoreCall::Lease);
        if asked.reset == self.cursors.reset {
            self.cursors.horizon.tx(asked.seen, report.tx);
        }
        let window = &self.window;
        let idle = |partition| window.len_of(partition) == 0;
        let changes = self.leases.leased((asked.at, now), report, idle, &mut self.rng);
        for (partition, epoch) in changes.acquired {
            self.tell(Event::Acquired(partition, epoch));
            if self.stopping.is_some() {
                self.leases.drain(partition);
            } else {
                self.cursors.add(partition);
                self.pace.wake(now);
            }
        }
        for partition in changes.lost {
            self.lost(partition);
        }
        for partition in changes.released {
            self.tell(Event::Released(partition));
        }
        self.list_lanes(&changes.renewed);
        if leaving {
            self.ended = Some(Ended::Left);
        }
        if self.stopping.is_none() {
            self.shed();
        }
    }

    /// Hands back what is more than the fair share, beginning with what has least in memory.
    fn shed(&mut self) {
        let mut active = self.leases.partitions_in(TenureState::Active);
        active.sort_by_key(|partition| self.window.len_of(*partition));
        active.truncate(self.leases.surplus());
        for partition in active {
            self.stand_down(partition);
            self.leases.drain(partition);
        }
    }

    pub(super) fn lost(&mut self, partition: Partition) {
        self.tell(Event::Lost(partition));
        self.stand_down(partition);
    }

    /// Stops reading a partition and drops what is not on its way.
    pub(super) fn stand_down(&mut self, partition: Partition) {
        self.cursors.remove(partition);
        self.parked.forget(partition);
        self.drop_waiting(|other| other == partition);
    }

    /// Drops all of those partitions that is neither being published nor settled; it will be read
    /// again, by whoever owns the partition then.
    fn drop_waiting(&mut self, whose: impl Fn(Partition) -> bool) {
        for id in self.lanes.of_partitions(whose) {
            let lane = self.lanes.get_mut(id);
            lane.rests = false;
            for entry in std::mem::take(&mut lane.queue) {
                debug_assert_eq!(self.window.get(entry).state, EntryState::Queued);
                self.window.remove(entry);
            }
            let settling = |state| state == HoldState::Settling;
            if !self.lanes.hold(id).is_some_and(|hold| settling(hold.state)) {
                self.lanes.set_hold(id, None);
            }
            self.lanes.tidy(id, Duration::ZERO);
        }
    }

    /// A lost partition is forgotten once nothing of it is on the way; only then can it be taken
    /// again.
    pub(super) fn forget_lost(&mut self) {
        for partition in self.leases.partitions_in(TenureState::Lost) {
            if self.window.len_of(partition) == 0 {
                self.leases.forget(partition);
            }
        }
    }

    /// Reads everything from the start again, keeping only what is on its way.
    pub(super) fn rewind_all(&mut self, now: Duration) {
        self.drop_waiting(|_| true);
        self.cursors.rewind();
        self.pace.wake(now);
    }

    pub(super) fn store_failed(&mut self, now: Duration, call: StoreCall, failure: StoreFailure) {
        let wait = self.config.store_retry;
        // Leases are asked for often enough to be renewed in time.
        let most = if call == StoreCall::Lease { self.config.lease / 6 } else { wait.cap };
        self.retries[call as usize].failed(now, &wait, most, &mut self.rng);
        if failure.kind == StoreErrorKind::Unavailable {
            self.leases.outage();
        }
        if failure.kind != StoreErrorKind::Conflict {
            // The next answer may come from a server that was restarted, restored or promoted.
            self.cursors.forget_generations();
            self.rewind_all(now);
        }
        self.tell(Event::StoreFailed(call, failure));
    }

    pub(super) fn store_worked(&mut self, call: StoreCall) {
        if self.retries[call as usize].worked() {
            self.tell(Event::StoreRecovered(call));
        }
    }

    pub(super) fn retry_of(&self, call: StoreCall) -> Duration {
        self.retries[call as usize].at()
    }
}
