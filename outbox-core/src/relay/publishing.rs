//! Publishing: which messages travel together, and what their outcomes mean.

use std::sync::Arc;
use std::time::Duration;

use super::command::{Batch, BatchId, Command, Destination, Event};
use super::lanes::{Hold, HoldState, LaneId};
use super::machine::Machine;
use super::window::{EntryId, EntryState};
use crate::{Ordering, Outcome, Reason};

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Flight {
    destination: Destination,
    entries: Vec<EntryId>,
    started: Duration,
    /// What the destination had delivered when it started.
    delivered_before: u64,
}

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
}

impl Machine {
    pub(super) fn next_publish(&mut self, now: Duration) -> Option<Command> {
        if self.stopping.is_some() {
            return None;
        }
        (0..self.destinations.len()).find_map(|index| {
            let entries = self.next_batch(now, index);
            (!entries.is_empty()).then(|| Command::Publish(self.launch(now, index, entries)))
        })
    }

    pub(super) fn publish_timeout(&self) -> Option<Duration> {
        if self.stopping.is_some() {
            return None;
        }
        let waiting = self.destinations.iter().filter(|state| {
            !state.ready.is_empty() && state.flying < state.allowance(self.config.concurrency).0
        });
        waiting.filter_map(super::breaker::DestinationState::rests_until).min()
    }

    fn next_batch(&mut self, now: Duration, index: usize) -> Vec<EntryId> {
        let mut batch = Vec::new();
        let state = &self.destinations[index];
        let (flights, mut room) = state.allowance(self.config.concurrency);
        if state.flying >= flights || state.rests_until().is_none_or(|until| now < until) {
            return batch;
        }
        let mut bytes = state.spec.limits.bytes;
        while batch.len() < room {
            let Some(lane) = self.destinations[index].ready.pop_front() else { break };
            if !self.leases.may_publish(self.lanes.get(lane).key.partition, now) {
                // It is listed again when the lease has been renewed.
                self.lanes.get_mut(lane).listed = false;
                self.lanes.tidy(lane, now);
                continue;
            }
            if !self.take_run(lane, &mut batch, &mut room, &mut bytes) {
                self.destinations[index].ready.push_front(lane);
                break;
            }
        }
        batch
    }

    /// Moves the front of a lane into the batch, as far as it fits. Returns false if nothing did.
    fn take_run(
        &mut self,
        lane_id: LaneId,
        batch: &mut Vec<EntryId>,
        room: &mut usize,
        bytes: &mut usize,
    ) -> bool {
        let lane = self.lanes.get_mut(lane_id);
        let ordering = self.destinations[lane.key.destination.0 as usize].spec.ordering;
        let longest = if ordering == Ordering::PrefixPerKey { usize::MAX } else { 1 };
        let before = batch.len();
        let mut full = false;
        while let Some(id) = lane.queue.front().copied() {
            if batch.len() - before == longest {
                break;
            }
            let entry = self.window.get_mut(id);
            let size = entry.message.size();
            let fits = batch.len() < (*room).min(entry.batch_cap);
            if !fits || (size > *bytes && !batch.is_empty()) {
                full = true;
                break;
            }
            *room = (*room).min(entry.batch_cap);
            *bytes = bytes.saturating_sub(size);
            entry.state = EntryState::Flying;
            lane.queue.pop_front();
            lane.busy += 1;
            batch.push(id);
        }
        if batch.len() == before && full {
            return false;
        }
        lane.listed = false;
        if full {
            *room = batch.len();
        }
        self.lanes.tidy(lane_id, Duration::ZERO);
        true
    }

    fn launch(&mut self, now: Duration, index: usize, entries: Vec<EntryId>) -> Batch {
        let id = BatchId(self.next_batch);
        self.next_batch += 1;
        let messages =
            entries.iter().map(|entry| Arc::clone(&self.window.get(*entry).message)).collect();
        let destination = Destination(u16::try_from(index).expect("destinations are few"));
        let state = &mut self.destinations[index];
        state.start();
        let delivered_before = state.delivered;
        self.flights.insert(id, Flight { destination, entries, started: now, delivered_before });
        Batch { id, destination, messages, deadline: now + self.config.publish_timeout }
    }

    pub(super) fn published(&mut self, now: Duration, id: BatchId, mut outcomes: Vec<Outcome>) {
        let Some(flight) = self.flights.remove(&id) else { return };
        outcomes.resize(flight.entries.len(), Outcome::Unknown);
        let index = flight.destination.0 as usize;
        let delivered = outcomes.iter().filter(|o| **o == Outcome::Delivered).count();
        let state = &mut self.destinations[index];
        state.flying -= 1;
        state.delivered += delivered as u64;
        self.tell(Event::Published {
            destination: flight.destination,
            delivered,
            failed: flight.entries.len() - delivered,
            took: now.saturating_sub(flight.started),
        });
        let mut lanes: Vec<LaneId> = flight.entries.iter().map(|id| self.lane_of(*id)).collect();
        lanes.dedup();
        let news = self.land(now, &flight, outcomes);
        for lane in lanes {
            self.list_lane(lane);
            self.lanes.tidy(lane, now);
        }
        self.rest(now, &flight, news);
    }

    /// Draws the conclusions for each message. Within a lane the first that was not delivered
    /// decides: none behind it can have been accepted, whatever is said of them.
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
            Judgement::Again if self.leases.is_active(partition) => (Followers::Requeue, false),
            Judgement::Again => (Followers::Aside, false),
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
            // The broker works, and did not answer for this one.
            Outcome::Delivered | Outcome::Unknown if total > flight.delivered_before => {
                return Judgement::Attempt(Reason::new("no answer in time"));
            }
            Outcome::Delivered | Outcome::Unknown => Reason::new("no answer in time"),
            Outcome::Unavailable(reason) => reason,
        };
        let entry = self.window.get_mut(id);
        entry.batch_cap = (flight.entries.len() / 2).max(1);
        if flight.entries.len() == 1 && entry.fails_alone(total) {
            return Judgement::Attempt(down);
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

    /// Blocks a lane behind a message that awaits its verdict, and drops what waits in it.
    pub(super) fn block(&mut self, id: EntryId, head_only: bool) {
        let entry = self.window.get(id);
        let (lane_id, seq) = (entry.lane, entry.row.seq);
        let lane = self.lanes.get_mut(lane_id);
        let (mut from, mut to) = lane.hold.map_or((seq, seq), |hold| (hold.from, hold.to));
        for waiting in std::mem::take(&mut lane.queue) {
            let row = self.window.remove(waiting).row;
            from = from.min(row.seq);
            to = to.max(row.seq);
        }
        let hold =
            Hold { from: from.min(seq), to: to.max(seq), state: HoldState::Settling, head_only };
        self.lanes.set_hold(lane_id, Some(hold));
    }

    /// Lists a lane as ready if it has something to send and nothing on the way.
    pub(super) fn list_lane(&mut self, id: LaneId) {
        let Some(lane) = self.lanes.try_get_mut(id) else { return };
        if lane.listed || lane.busy > 0 || lane.queue.is_empty() {
            return;
        }
        lane.listed = true;
        let destination = lane.key.destination.0 as usize;
        self.destinations[destination].ready.push_back(id);
    }

    /// Lists lanes that were passed over while the leases of their partitions ran short.
    pub(super) fn list_lanes(&mut self, partitions: &[crate::Partition]) {
        for id in self.lanes.unlisted(partitions) {
            self.list_lane(id);
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
            let Some(lane_id) = self.destinations[index].ready.pop_back() else { break };
            let lane = self.lanes.get_mut(lane_id);
            lane.listed = false;
            for id in std::mem::take(&mut lane.queue) {
                let seq = self.window.remove(id).row.seq;
                self.lanes.hold_row(lane_id, seq, now);
            }
            if let Some(hold) = self.lanes.hold(lane_id) {
                let hold = Hold { state: HoldState::Until(until), ..hold };
                self.lanes.set_hold(lane_id, Some(hold));
            }
            self.lanes.tidy(lane_id, now);
        }
    }
}

/// What a batch told about its destination.
#[derive(Debug, Default)]
struct News {
    answered: bool,
    throttled: Option<Duration>,
    down: Option<Reason>,
}
