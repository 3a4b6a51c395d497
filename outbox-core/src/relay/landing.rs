//! Landing: what the outcomes of a batch mean for its messages and for its destination.

use std::time::Duration;

use super::command::{BatchId, Destination, Event};
use super::lanes::{Hold, HoldState, LaneId};
use super::machine::Machine;
use super::publishing::Flight;
use super::window::{EntryId, EntryState};
use crate::{Outcome, Reason};

/// Where the messages go that come after one that was not delivered.
#[derive(Debug, Clone, Copy)]
enum Followers {
    /// Back to the front of their lane.
    Requeue,
    /// Out of memory, to be read again.
    Aside,
}

/// What a message that was not delivered is due.
enum Judgement {
    /// An attempt has failed.
    Attempt(Reason),
    /// It will never succeed.
    Reject(Reason),
    /// It goes back to the front of its lane, nothing counted.
    Again,
    /// So it does, but others go first for so long.
    Later(Wait),
}

/// How long a lane lets others go first.
#[derive(Debug, Clone, Copy)]
struct Wait {
    /// If its first message stays in memory.
    kept: Duration,
    /// If it doesn't, and how often it was tried is forgotten.
    dropped: Duration,
}

impl Machine {
    pub(super) fn published(&mut self, now: Duration, id: BatchId, mut outcomes: Vec<Outcome>) {
        let Some(flight) = self.flights.remove(&id) else { return };
        outcomes.resize(flight.entries.len(), Outcome::Unknown);
        let index = flight.destination.0 as usize;
        let delivered = outcomes.iter().filter(|o| **o == Outcome::Delivered).count();
        self.destinations[index].landed(id, flight.line, delivered as u64);
        self.tell(Event::Published {
            destination: flight.destination,
            delivered,
            failed: flight.entries.len() - delivered,
            took: now.saturating_sub(flight.started),
        });
        let mut lanes: Vec<LaneId> = flight.entries.iter().map(|id| self.lane_of(*id)).collect();
        lanes.dedup();
        let news = self.land(now, &flight, outcomes);
        for (lane, wait) in &news.late {
            self.rest_lane(*lane, now, *wait);
        }
        for lane in lanes {
            self.list_lane(lane);
            self.lanes.tidy(lane, now);
        }
        self.rest(now, &flight, news);
    }

    /// Draws the conclusions for each message. Within a lane the first that was not delivered
    /// decides over what comes behind it and wasn't delivered, whatever is said of that.
    fn land(&mut self, now: Duration, flight: &Flight, outcomes: Vec<Outcome>) -> News {
        let mut news = News::default();
        let mut decided: Option<(LaneId, Followers)> = None;
        let mut again = Vec::new();
        for (id, outcome) in flight.entries.iter().copied().zip(outcomes) {
            let lane = self.lane_of(id);
            if outcome == Outcome::Delivered {
                news.answered = true;
                self.lanes.get_mut(lane).busy -= 1;
                self.settle_delivered(id);
                continue;
            }
            let followers = match decided {
                Some((same, followers)) if same == lane => followers,
                _ => {
                    let judgement = self.judge(flight, id, outcome, &mut news);
                    if let Judgement::Later(wait) = judgement {
                        news.late.push((lane, wait));
                    }
                    let (followers, has_verdict) = self.decide_lane(id, judgement);
                    decided = Some((lane, followers));
                    if has_verdict {
                        continue;
                    }
                    followers
                }
            };
            match followers {
                Followers::Requeue => again.push(id),
                Followers::Aside => self.set_aside(now, id),
            }
        }
        self.requeue(again);
        news
    }

    /// What becomes of a lane whose first undelivered message was judged so. Returns whether that
    /// message got a verdict; if not, it goes where its followers go.
    fn decide_lane(&mut self, id: EntryId, judgement: Judgement) -> (Followers, bool) {
        let partition = self.window.get(id).row.partition;
        if self.leases.is_lost(partition) {
            return (Followers::Aside, false);
        }
        let lane = self.lane_of(id);
        match judgement {
            Judgement::Again | Judgement::Later(_) => {
                let stays = self.leases.is_active(partition);
                (if stays { Followers::Requeue } else { Followers::Aside }, false)
            }
            Judgement::Attempt(reason) => {
                self.lanes.get_mut(lane).busy -= 1;
                self.fail(id, reason);
                (Followers::Aside, true)
            }
            Judgement::Reject(reason) => {
                self.lanes.get_mut(lane).busy -= 1;
                let attempts = self.window.get(id).attempts.saturating_add(1);
                self.bury(id, attempts, reason);
                (Followers::Aside, true)
            }
        }
    }

    /// Puts messages back to the front of their lanes, from the back, so that they stay in order.
    fn requeue(&mut self, messages: Vec<EntryId>) {
        for id in messages.into_iter().rev() {
            let entry = self.window.get_mut(id);
            entry.state = EntryState::Queued;
            let lane = self.lanes.get_mut(entry.lane);
            lane.busy -= 1;
            lane.queue.push_front(id);
        }
    }

    fn lane_of(&self, entry: EntryId) -> LaneId {
        self.window.get(entry).lane
    }

    /// What an outcome other than delivered means for its message.
    fn judge(
        &mut self,
        flight: &Flight,
        id: EntryId,
        outcome: Outcome,
        news: &mut News,
    ) -> Judgement {
        let total = self.destinations[flight.destination.0 as usize].delivered;
        let down = match outcome {
            Outcome::Failed(reason) => {
                news.answered = true;
                return Judgement::Attempt(reason);
            }
            Outcome::Rejected(reason) => {
                news.answered = true;
                return Judgement::Reject(reason);
            }
            Outcome::Throttled(wait) => {
                news.throttled = Some(news.throttled.map_or(wait, |longest| longest.max(wait)));
                return Judgement::Again;
            }
            Outcome::Fenced(reason) => {
                news.answered = true;
                news.fenced = Some(reason);
                // It may be so for a moment, until the lease is lost, or until somebody has looked.
                let entry = self.window.get_mut(id);
                let tries = entry.passed_over;
                entry.passed_over = tries.saturating_add(1);
                let mut after = |tries| self.config.breaker.at_least_half(tries, &mut self.rng);
                return Judgement::Later(Wait { kept: after(tries), dropped: after(u32::MAX) });
            }
            // The broker works, and did not answer for this one.
            Outcome::Delivered | Outcome::Unknown if total > flight.delivered_before => {
                return Judgement::Attempt(Reason::new("no answer in time"));
            }
            Outcome::Delivered | Outcome::Unknown => Reason::new("no answer in time"),
            Outcome::Unavailable(reason) => reason,
        };
        let entry = self.window.get_mut(id);
        entry.batch_cap = (flight.entries.len() / 2).max(1);
        let alone = flight.entries.len() == 1;
        if alone && entry.fails_alone(BatchId(self.next_batch), flight.proven_before) {
            return Judgement::Attempt(down);
        }
        if total > flight.delivered_before {
            // The broker works for others. Until it is known which message it is that it doesn't
            // work for, they are soon tried again, in smaller batches.
            entry.passed_over = entry.passed_over.saturating_add(u32::from(alone));
            let wait = self.config.breaker.at_least_half(entry.passed_over, &mut self.rng);
            return Judgement::Later(Wait { kept: wait, dropped: wait });
        }
        news.down = Some(down);
        Judgement::Again
    }

    /// Drops a message that comes after one that blocks its lane; it is read again.
    fn set_aside(&mut self, now: Duration, id: EntryId) {
        let entry = self.window.remove(id);
        self.lanes.get_mut(entry.lane).busy -= 1;
        if self.leases.is_active(entry.row.partition) {
            self.lanes.hold_row(entry.lane, entry.row.seq, now);
        }
    }

    /// Draws the conclusions about the destination.
    fn rest(&mut self, now: Duration, flight: &Flight, news: News) {
        let destination = flight.destination;
        let state = &mut self.destinations[destination.0 as usize];
        let works = news.answered || state.delivered > flight.delivered_before;
        let (mut event, mut makes_room) = (None, false);
        match news.down {
            Some(reason) => {
                if state.failed(now, &self.config.breaker, &mut self.rng) {
                    event = Some(Event::BreakerOpened(destination, reason));
                    makes_room = true;
                }
            }
            None if works || news.throttled.is_some() => {
                if state.answered() {
                    event = Some(Event::BreakerClosed(destination));
                }
            }
            // The message is blamed, but nothing shows that the broker works.
            None => {
                if state.failed(now, &self.config.breaker, &mut self.rng) {
                    let reason = Reason::new("a message failed that may have broken it");
                    event = Some(Event::BreakerOpened(destination, reason));
                }
            }
        }
        if let Some(wait) = news.throttled {
            // A wait of nothing would be no wait.
            let wait = wait.min(self.config.throttle_cap).max(self.config.poll.first);
            state.throttled_until = state.throttled_until.max(now + wait);
            self.tell(Event::Throttled(destination, wait));
        }
        if let Some(reason) = news.fenced {
            self.tell(Event::Fenced(destination, reason));
        }
        if let Some(event) = event {
            self.tell(event);
        }
        if makes_room {
            self.make_room(now, destination);
        }
    }

    /// Puts lanes of a destination that is out of reach aside, for others to use the window.
    fn make_room(&mut self, now: Duration, destination: Destination) {
        let index = destination.0 as usize;
        while let Some(until) = self.rests(now, destination) {
            let Some(lane) = self.destinations[index].pop_last() else { break };
            self.lanes.get_mut(lane).listed = false;
            self.put_aside(lane, 0, now);
            self.read_later(lane, until);
            self.lanes.tidy(lane, now);
        }
    }

    /// Lets a lane wait while others go on. Of its messages only the first stays in memory, and none
    /// if there are many such lanes.
    fn rest_lane(&mut self, lane: LaneId, now: Duration, wait: Wait) {
        if self.lanes.get(lane).queue.is_empty() {
            return;
        }
        if self.lanes.resting() < self.config.window_messages.div_ceil(2) {
            self.put_aside(lane, 1, now);
            self.lanes.rest(lane, now + wait.kept);
        } else {
            self.put_aside(lane, 0, now);
            self.read_later(lane, now + wait.dropped);
        }
    }

    /// Drops what a lane has in memory behind its first messages; it is read again.
    fn put_aside(&mut self, lane_id: LaneId, kept: usize, now: Duration) {
        let queue = &mut self.lanes.get_mut(lane_id).queue;
        for id in queue.split_off(kept.min(queue.len())) {
            let seq = self.window.remove(id).row.seq;
            self.lanes.hold_row(lane_id, seq, now);
        }
    }

    /// What was put aside isn't read again before that time.
    fn read_later(&mut self, lane: LaneId, until: Duration) {
        if let Some(hold) = self.lanes.hold(lane) {
            self.lanes.set_hold(lane, Some(Hold { state: HoldState::Until(until), ..hold }));
        }
    }
}

/// What a batch told about its destination.
#[derive(Debug, Default)]
struct News {
    answered: bool,
    throttled: Option<Duration>,
    down: Option<Reason>,
    fenced: Option<Reason>,
    /// Lanes that let others go first, and for how long.
    late: Vec<(LaneId, Wait)>,
}
