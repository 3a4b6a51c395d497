//! When the machine wants to be called again.

use std::time::Duration;

use super::command::StoreCall;
use super::config::Backoff;
use super::machine::Machine;

/// When the store is asked for rows next.
#[derive(Debug)]
pub(super) struct Pace {
    pub(super) next_at: Duration,
    idle_steps: u32,
    woken: bool,
    /// The last reading was of single lanes.
    pub(super) reread_last: bool,
    /// The last look was expensive: none before this.
    not_before: Duration,
}

impl Pace {
    pub(super) fn new(now: Duration) -> Self {
        Self { next_at: now, idle_steps: 0, woken: false, reread_last: false, not_before: now }
    }

    /// Something may be there: look at once, or again after the look that is under way.
    pub(super) fn wake(&mut self, now: Duration) {
        self.next_at = self.next_at.min(now.max(self.not_before));
        self.idle_steps = 0;
        self.woken = true;
    }

    /// A look starts.
    pub(super) fn looking(&mut self) {
        self.woken = false;
    }

    /// Looking behind the cursors took that long, and is not worth more than a fifth of the time.
    pub(super) fn cost(&mut self, now: Duration, took: Duration) {
        self.not_before = now + took * 4;
    }

    /// A look has ended, which has `found` rows, and `more` are known to be there.
    pub(super) fn looked(
        &mut self,
        now: Duration,
        found: bool,
        more: bool,
        poll: &Backoff,
        rng: &mut fastrand::Rng,
    ) {
        if found || more || self.woken {
            self.idle_steps = 0;
        } else {
            self.idle_steps = self.idle_steps.saturating_add(1);
        }
        self.next_at = match (more, self.woken) {
            (true, _) => now,
            (false, true) => now.max(self.not_before),
            (false, false) => (now + poll.at_least_half(self.idle_steps, rng)).max(self.not_before),
        };
    }
}

/// When a failed call of the store is tried again.
#[derive(Debug, Default)]
pub(super) struct Retry {
    at: Duration,
    failures: u32,
}

impl Retry {
    pub(super) fn at(&self) -> Duration {
        self.at
    }

    pub(super) fn failed(
        &mut self,
        now: Duration,
        wait: &Backoff,
        most: Duration,
        rng: &mut fastrand::Rng,
    ) {
        self.at = now + wait.at_least_half(self.failures, rng).min(most);
        self.failures = self.failures.saturating_add(1);
    }

    /// Returns whether it had failed before.
    pub(super) fn worked(&mut self) -> bool {
        self.at = Duration::ZERO;
        std::mem::take(&mut self.failures) > 0
    }
}

impl Machine {
    /// The time at which [`handle`](Machine::handle) must be called with
    /// [`Input::Timeout`](super::Input::Timeout) if nothing happens before; `None` when the
    /// machine only waits for answers.
    pub fn poll_timeout(&self) -> Option<Duration> {
        if self.is_stopped() {
            return None;
        }
        let times = [
            self.stopping,
            Some(self.stuck_check_at),
            self.leases.next_expiry(),
            self.lease_timeout(),
            self.reading_timeout(),
            self.settlement_timeout(),
            self.publish_timeout(),
        ];
        times.into_iter().flatten().min()
    }

    fn lease_timeout(&self) -> Option<Duration> {
        if self.leasing.is_some() || self.ended.is_some() {
            return None;
        }
        let at_once = !self.drained().is_empty() || self.may_leave();
        let due = if at_once { Duration::ZERO } else { self.leases.next_at };
        Some(due.max(self.retry_of(StoreCall::Lease)))
    }
}
