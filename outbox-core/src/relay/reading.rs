//! Reading rows: which to ask for, and where each of them belongs.

use std::sync::Arc;
use std::time::Duration;

use super::command::{Command, Destination, Event, StoreCall, StoreFailure};
use super::lanes::{Hold, HoldState, LaneId, LaneKey, LaneName};
use super::machine::{Asked, Machine, Reading};
use super::window::{Entry, Known};
use crate::{FetchRequest, Page, Partition, PartitionRead, RowBehind, RowRef, Seq, StoredRow};

impl Machine {
    pub(super) fn next_reading(&mut self, now: Duration) -> Option<Command> {
        let blocked = self.reading.is_some()
            || self.stopping.is_some()
            || now < self.retry_of(StoreCall::Read);
        if blocked {
            return None;
        }
        // Lanes that wait come first, but a page is read between two of their readings.
        let page_is_due = now >= self.pace.next_at && self.has_room();
        let lanes_are_due = self.lanes.next_due().is_some_and(|at| at <= now) && self.has_room();
        if lanes_are_due && !(page_is_due && self.pace.reread_last) {
            return Some(self.next_reread(now));
        }
        page_is_due.then(|| self.next_page(now))
    }

    /// A page is worth its round trip once a quarter of the window is free.
    fn has_room(&self) -> bool {
        let config = &self.config;
        let (rows, bytes) = self.room();
        rows >= config.window_messages.div_ceil(4) && bytes >= config.window_bytes.div_ceil(4)
    }

    pub(super) fn room(&self) -> (usize, usize) {
        let rows = self.config.window_messages.saturating_sub(self.window.len());
        (rows, self.config.window_bytes.saturating_sub(self.window.bytes()))
    }

    pub(super) fn reading_timeout(&self) -> Option<Duration> {
        if self.reading.is_some() || self.stopping.is_some() || !self.has_room() {
            return None;
        }
        let due = self.lanes.next_due().unwrap_or(Duration::MAX).min(self.pace.next_at);
        Some(due.max(self.retry_of(StoreCall::Read)))
    }

    fn next_page(&mut self, now: Duration) -> Command {
        let (rows, bytes) = self.room();
        // With that many lanes aside, reading on would only put more aside.
        let rows = if self.lanes.held() < self.config.held_lanes { rows } else { 0 };
        let reads = self.cursors.reads(rows, bytes);
        self.reading = Some(Reading::Page(self.asked(now), reads.clone()));
        self.pace.looking();
        let horizon = self.cursors.horizon.at();
        Command::Fetch(FetchRequest { reads, horizon, look_limit: self.cursors.look_limit })
    }

    pub(super) fn fetched(&mut self, now: Duration, answer: Result<Page, StoreFailure>) {
        let Some((asked, reads)) = self.reading.take_if(Reading::is_page).and_then(Reading::page)
        else {
            return;
        };
        match answer {
            Ok(page) => {
                self.store_worked(StoreCall::Read);
                self.take_page(now, asked, &reads, page);
            }
            Err(failure) => self.store_failed(now, StoreCall::Read, failure),
        }
        self.pace.reread_last = false;
        self.window.forget_settled();
    }

    fn take_page(&mut self, now: Duration, asked: Asked, reads: &[PartitionRead], page: Page) {
        if page.vacant && self.stopping.is_none() {
            self.leases.notice_vacancy(now, self.config.poll.cap);
        }
        if asked.reset != self.cursors.reset {
            // A page from before the reset would put later rows before those it starts over with.
            return self.pace.wake(now);
        }
        if page.look_truncated {
            self.cursors.look_limit = self.cursors.look_limit.saturating_mul(2);
            return self.pace.wake(now);
        }
        if !self.take_generations(now, asked, reads, &page) {
            return;
        }
        let took = now.saturating_sub(asked.at);
        let horizon = self.cursors.horizon.at();
        let looked = page.behind.len();
        let mut late = 0;
        let mut all_placed = true;
        for row in &page.behind {
            match self.place_behind(now, row) {
                Placed::Known => {}
                Placed::Late => late += 1,
                Placed::Disputed => all_placed = false,
            }
        }
        let largest = page.rows.iter().map(|row| row.seq).max().unwrap_or_default();
        let counts = count(reads, &page.rows);
        let before = self.window.len();
        for row in page.rows {
            all_placed &= self.take_row(now, row);
        }
        self.disputed |= !all_placed;
        if all_placed {
            self.cursors.horizon.looked(asked.at, page.xmin);
        }
        self.cursors.horizon.page(largest, now);
        self.advance(reads, &counts);
        let rows = self.window.len().saturating_sub(before);
        if rows + looked > 0 {
            self.tell(Event::Fetched { rows, looked, late, took });
        }
        if reads.iter().any(|read| read.after > horizon) {
            // As long as the whole page is quick, the look in it is cheap.
            self.pace.cost(now, took.saturating_sub(self.config.poll.first));
        }
        let more = !self.cursors.exhausted() && reads.iter().any(|read| read.limit > 0);
        self.pace.looked(now, rows > 0, more, &self.config.poll, &mut self.rng);
    }

    fn advance(&mut self, reads: &[PartitionRead], counts: &[Count]) {
        let horizon = self.cursors.horizon.at();
        let ordered = self.cursors.horizon.visibility() == crate::Visibility::Ordered;
        for (read, count) in reads.iter().zip(counts) {
            let Some(cursor) = self.cursors.get_mut(read.partition) else { continue };
            if cursor.after != read.after {
                // It was rewound while this page was taken in.
                continue;
            }
            cursor.after = cursor.after.max(count.last);
            cursor.hungry = count.rows >= read.limit || count.bytes >= read.bytes;
            if !cursor.hungry && !ordered {
                // There is nothing left up to the horizon, so the next look can begin there.
                cursor.after = cursor.after.max(horizon);
            }
        }
    }

    fn place_behind(&mut self, now: Duration, row: &RowBehind) -> Placed {
        if !self.cursors.contains(row.partition) {
            return Placed::Known;
        }
        match self.window.knows(RowRef { partition: row.partition, seq: row.seq, id: row.id }) {
            Known::Yes => return Placed::Known,
            Known::Disputed => return Placed::Disputed,
            Known::No => {}
        }
        let key = self.lane_key(row.partition, row.seq, &row.topic, row.key.clone());
        let held = self.lanes.find(&key).and_then(|id| self.lanes.hold(id));
        if held.is_some_and(|hold| (hold.from..=hold.to).contains(&row.seq)) {
            return Placed::Known;
        }
        let id = self.lanes.open(key);
        self.lanes.hold_row(id, row.seq, now);
        Placed::Late
    }

    pub(super) fn lane_key(
        &self,
        partition: Partition,
        seq: Seq,
        topic: &str,
        key: Option<Arc<str>>,
    ) -> LaneKey {
        let destination = (self.route)(topic);
        LaneKey { partition, destination, name: LaneName::of(key, seq) }
    }

    /// Puts a row of a page into its lane, or extends the lane's hold over it. Returns false if
    /// another message has its place.
    fn take_row(&mut self, now: Duration, row: StoredRow) -> bool {
        let known = self.window.knows(row.place());
        if !self.cursors.contains(row.partition) || known != Known::No {
            return known != Known::Disputed;
        }
        let key = row.message.parts().key.clone();
        let key = self.lane_key(row.partition, row.seq, row.message.topic(), key);
        let lane = self.lanes.open(key);
        if self.lanes.hold(lane).is_some() || self.lanes.get(lane).rests {
            self.lanes.hold_row(lane, row.seq, now);
        } else {
            self.admit(now, lane, row);
        }
        true
    }

    /// Takes a row whose turn in its lane has come into memory, or holds the lane from it on.
    pub(super) fn admit(&mut self, now: Duration, lane_id: LaneId, row: StoredRow) {
        let lane = self.lanes.get(lane_id);
        if let Some(behind) = self.parked.behind(&lane.key) {
            return self.park(now, lane_id, row, behind);
        }
        let destination = lane.key.destination;
        let idle = lane.busy == 0 && lane.queue.is_empty();
        // One long lane must not fill the window, and a verdict needs the head of its lane.
        let crowded = lane.queue.len() >= self.config.window_messages.div_ceil(4);
        // What was to be parked, but is not yet, goes first.
        if crowded || lane.parking > 0 || (row.defect.is_some() && !idle) {
            return self.lanes.hold_row(lane_id, row.seq, now);
        }
        // No relay waits for longer between two tries: whoever wrote that had another clock. On
        // SQLite each process has its own.
        let longest = self.config.retry.backoff.cap;
        let delay = row.retry_in.filter(|delay| !delay.is_zero() && *delay <= longest);
        let rests = || self.rests(now, destination);
        if let Some(until) = delay.map(|delay| now + delay).or_else(rests) {
            let state = HoldState::Until(until);
            let hold = Hold { from: row.seq, to: row.seq, state, head_only: delay.is_some() };
            return self.lanes.set_hold(lane_id, Some(hold));
        }
        let (place, attempts) = (row.place(), row.attempts);
        let entry = Entry::new(place, (lane_id, destination), row.message, attempts, now);
        let entry = self.window.insert(entry);
        if let Some(defect) = row.defect {
            self.bury(entry, attempts, defect);
        } else {
            self.lanes.get_mut(lane_id).queue.push_back(entry);
            self.list_lane(lane_id);
        }
    }

    /// A destination that is out of reach must not fill the window that others need.
    pub(super) fn rests(&self, now: Duration, destination: Destination) -> Option<Duration> {
        let state = &self.destinations[destination.0 as usize];
        let share = self.config.window_messages.div_ceil(self.destinations.len());
        let full = self.destinations.len() > 1 && self.window.len_to(destination) >= share;
        let until = || state.rests_until().unwrap_or(now + self.config.breaker.cap);
        (full && state.down_since().is_some()).then(|| until().max(now))
    }
}

/// How many rows came for each read, how many bytes, and which was the last.
fn count(reads: &[PartitionRead], rows: &[StoredRow]) -> Vec<Count> {
    let mut counts = vec![Count::default(); reads.len()];
    let mut at = 0;
    for row in rows {
        if reads.get(at).is_none_or(|read| read.partition != row.partition) {
            let place = reads.iter().position(|read| read.partition == row.partition);
            let Some(place) = place else { continue };
            at = place;
        }
        counts[at].rows += 1;
        counts[at].bytes += row.message.payload().len() as u64;
        counts[at].last = row.seq;
    }
    counts
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Placed {
    Known,
    Late,
    Disputed,
}

#[derive(Debug, Clone, Default)]
struct Count {
    rows: u32,
    bytes: u64,
    last: Seq,
}

impl StoredRow {
    pub(super) fn place(&self) -> RowRef {
        RowRef { partition: self.partition, seq: self.seq, id: self.message.id() }
    }
}
