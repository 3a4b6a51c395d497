//! What the machine knows of a destination, and when it rests.

use std::collections::VecDeque;
use std::time::Duration;

use super::command::DestinationSpec;
use super::config::Backoff;
use super::lanes::LaneId;

#[derive(Debug)]
pub(super) struct DestinationState {
    pub(super) spec: DestinationSpec,
    /// Lanes with messages to send and none on the way.
    pub(super) ready: VecDeque<LaneId>,
    /// Batches on the way.
    pub(super) flying: usize,
    /// Messages delivered so far.
    pub(super) delivered: u64,
    pub(super) breaker: Breaker,
    pub(super) throttled_until: Duration,
}

/// A circuit breaker: an outage costs a probe now and then and no message an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Breaker {
    Closed,
    Open { since: Duration, until: Duration, tries: u32 },
    Probing { since: Duration, tries: u32 },
}

impl DestinationState {
    pub(super) fn new(spec: DestinationSpec) -> Self {
        Self {
            spec,
            ready: VecDeque::new(),
            flying: 0,
            delivered: 0,
            breaker: Breaker::Closed,
            throttled_until: Duration::ZERO,
        }
    }

    /// When the next batch may start, apart from batches that are on the way.
    pub(super) fn rests_until(&self) -> Option<Duration> {
        match self.breaker {
            Breaker::Closed => Some(self.throttled_until),
            Breaker::Open { until, .. } => Some(until.max(self.throttled_until)),
            Breaker::Probing { .. } => None,
        }
    }

    /// Since when it has not worked.
    pub(super) fn down_since(&self) -> Option<Duration> {
        match self.breaker {
            Breaker::Closed => None,
            Breaker::Open { since, .. } | Breaker::Probing { since, .. } => Some(since),
        }
    }

    /// How many batches may be on the way at once, and how many messages the next one takes.
    pub(super) fn allowance(&self, concurrency: usize) -> (usize, usize) {
        match self.breaker {
            Breaker::Closed => (concurrency, self.spec.limits.messages.max(1)),
            Breaker::Open { .. } | Breaker::Probing { .. } => (1, 1),
        }
    }

    /// A batch starts; when the breaker is open, it is the probe.
    pub(super) fn start(&mut self) {
        self.flying += 1;
        if let Breaker::Open { since, tries, .. } = self.breaker {
            self.breaker = Breaker::Probing { since, tries };
        }
    }

    /// The broker was out of reach. Returns whether this is news.
    pub(super) fn failed(
        &mut self,
        now: Duration,
        backoff: &Backoff,
        rng: &mut fastrand::Rng,
    ) -> bool {
        let (since, tries) = match self.breaker {
            Breaker::Closed => (now, 0),
            Breaker::Probing { since, tries } => (since, tries.saturating_add(1)),
            // A batch that was on the way when the breaker opened says nothing new.
            Breaker::Open { .. } => return false,
        };
        let until = now + backoff.at_least_half(tries, rng);
        let news = self.breaker == Breaker::Closed;
        self.breaker = Breaker::Open { since, until, tries };
        news
    }

    /// The broker has answered. Returns whether it was out of reach before.
    pub(super) fn answered(&mut self) -> bool {
        let was = std::mem::replace(&mut self.breaker, Breaker::Closed);
        was != Breaker::Closed
    }
}
