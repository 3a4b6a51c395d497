//! Publishing: which messages travel together.

use std::sync::Arc;
use std::time::Duration;

use super::breaker::{DestinationState, Line};
use super::command::{Batch, BatchId, Command, Destination};
use super::lanes::{Hold, HoldState, LaneId};
use super::machine::Machine;
use super::window::{EntryId, EntryState};
use crate::{FencingToken, Ordering};

/// A batch on its way.
#[derive(Debug)]
pub(super) struct Flight {
    pub(super) destination: Destination,
    pub(super) line: Line,
    pub(super) entries: Vec<EntryId>,
    pub(super) started: Duration,
    /// What the destination had delivered when it started.
    pub(super) delivered_before: u64,
    /// The last started of the batches that it had delivered something of, then.
    pub(super) proven_before: Option<BatchId>,
}

impl Machine {
    pub(super) fn next_publish(&mut self, now: Duration) -> Option<Command> {
        if self.stopping.is_some() {
            return None;
        }
        for lane in self.lanes.rested(now) {
            self.list_lane(lane);
        }
        (0..self.destinations.len()).find_map(|index| {
            loop {
                let (line, entries) = self.next_batch(now, index)?;
                // Lanes that were listed may have lost what they had to send.
                if !entries.is_empty() {
                    return Some(Command::Publish(self.launch(now, index, line, entries)));
                }
            }
        })
    }

    pub(super) fn publish_timeout(&self) -> Option<Duration> {
        if self.stopping.is_some() {
            return None;
        }
        let concurrency = self.config.concurrency;
        let waiting = self.destinations.iter().filter(|state| state.line(concurrency).is_some());
        let due = waiting.filter_map(DestinationState::rests_until);
        due.chain(self.lanes.next_rested()).min()
    }

    fn next_batch(&mut self, now: Duration, index: usize) -> Option<(Line, Vec<EntryId>)> {
        let mut batch = Vec::new();
        let state = &self.destinations[index];
        let line = state.line(self.config.concurrency)?;
        let mut room = state.room();
        if state.rests_until().is_none_or(|until| now < until) {
            return None;
        }
        let mut bytes = state.spec.limits.bytes;
        while batch.len() < room {
            let Some(lane) = self.destinations[index].lanes_in(line).pop_front() else { break };
            if !self.leases.may_publish(self.lanes.get(lane).key.partition, now) {
                // It is listed again when the lease has been renewed.
                self.lanes.get_mut(lane).listed = false;
                self.lanes.tidy(lane, now);
                continue;
            }
            if !self.take_run(lane, &mut batch, &mut room, &mut bytes) {
                self.destinations[index].lanes_in(line).push_front(lane);
                break;
            }
        }
        Some((line, batch))
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

    fn launch(&mut self, now: Duration, index: usize, line: Line, entries: Vec<EntryId>) -> Batch {
        let id = BatchId(self.next_batch);
        self.next_batch += 1;
        let messages =
            entries.iter().map(|entry| Arc::clone(&self.window.get(*entry).message)).collect();
        let tokens = entries.iter().map(|entry| self.token(*entry)).collect();
        let destination = Destination(u16::try_from(index).expect("destinations are few"));
        let state = &mut self.destinations[index];
        state.start(line);
        let flight = Flight {
            destination,
            line,
            entries,
            started: now,
            delivered_before: state.delivered,
            proven_before: state.proven,
        };
        self.flights.insert(id, flight);
        Batch { id, destination, messages, tokens, deadline: now + self.config.publish_timeout }
    }

    fn token(&self, entry: EntryId) -> FencingToken {
        let partition = self.window.get(entry).row.partition;
        let tenure = self.leases.get(partition).expect("only what is held is published");
        FencingToken { partition, epoch: tenure.epoch }
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
        let Some(front) = lane.queue.front() else { return };
        if lane.listed || lane.busy > 0 || lane.rests {
            return;
        }
        lane.listed = true;
        let is_suspect = self.window.get(*front).batch_cap < usize::MAX;
        let line = if is_suspect { Line::Suspects } else { Line::Ready };
        let destination = lane.key.destination.0 as usize;
        self.destinations[destination].lanes_in(line).push_back(id);
    }

    /// Lists lanes that were passed over while the leases of their partitions ran short.
    pub(super) fn list_lanes(&mut self, partitions: &[crate::Partition]) {
        for id in self.lanes.unlisted(partitions) {
            self.list_lane(id);
        }
    }
}
