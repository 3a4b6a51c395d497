//! What the machine knows of a destination, and when it rests.

use std::collections::VecDeque;
use std::time::Duration;

use super::command::{BatchId, DestinationSpec};
use super::config::Backoff;
use super::lanes::LaneId;

#[derive(Debug)]
pub(super) struct DestinationState {
    pub(super) spec: DestinationSpec,
    /// Lanes with messages to send and none on the way.
    ready: VecDeque<LaneId>,
    /// Those of them whose first message was in a batch that found the broker unavailable. They
    /// travel by themselves, one batch at a time, so that they hold up no others.
    suspects: VecDeque<LaneId>,
    /// Batches on the way.
    flying: usize,
    suspects_fly: bool,
    /// The last batch was theirs.
    suspects_were_last: bool,
    /// Messages delivered so far.
    pub(super) delivered: u64,
    /// The last started of the batches of which it has delivered something.
    pub(super) proven: Option<BatchId>,
    pub(super) breaker: Breaker,
    pub(super) throttled_until: Duration,
}

/// Where a lane waits for its turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    Ready,
    Suspects,
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
            suspects: VecDeque::new(),
            flying: 0,
            suspects_fly: false,
            suspects_were_last: false,
            delivered: 0,
            proven: None,
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

    pub(super) fn lanes_in(&mut self, line: Line) -> &mut VecDeque<LaneId> {
        match line {
            Line::Ready => &mut self.ready,
            Line::Suspects => &mut self.suspects,
        }
    }

    /// Takes the lane that would wait longest out of its line.
    pub(super) fn pop_last(&mut self) -> Option<LaneId> {
        self.suspects.pop_back().or_else(|| self.ready.pop_back())
    }

    /// From which lanes the next batch comes, if there may be one beside those that are on the way.
    pub(super) fn line(&self, concurrency: usize) -> Option<Line> {
        let is_closed = self.breaker == Breaker::Closed;
        if self.flying >= if is_closed { concurrency } else { 1 } {
            return None;
        }
        let suspects = !self.suspects.is_empty() && !self.suspects_fly;
        if self.ready.is_empty() {
            return suspects.then_some(Line::Suspects);
        }
        // Whether the broker works is asked with those that haven't failed yet.
        let is_their_turn = is_closed && (self.flying > 0 || !self.suspects_were_last);
        Some(if suspects && is_their_turn { Line::Suspects } else { Line::Ready })
    }

    /// How many messages the next batch takes.
    pub(super) fn room(&self) -> usize {
        match self.breaker {
            Breaker::Closed => self.spec.limits.messages.max(1),
            Breaker::Open { .. } | Breaker::Probing { .. } => 1,
        }
    }

    /// A batch has landed that came from there.
    pub(super) fn landed(&mut self, batch: BatchId, line: Line, delivered: u64) {
        self.flying -= 1;
        self.suspects_fly &= line == Line::Ready;
        self.delivered += delivered;
        if delivered > 0 {
            self.proven = self.proven.max(Some(batch));
        }
    }

    /// A batch starts; when the breaker is open, it is the probe.
    pub(super) fn start(&mut self, line: Line) {
        self.flying += 1;
        self.suspects_were_last = line == Line::Suspects;
        self.suspects_fly |= self.suspects_were_last;
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
