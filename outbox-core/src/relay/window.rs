//! The messages in memory: bounded in number and in bytes.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;
use uuid::Uuid;

use super::command::{BatchId, Destination};
use super::lanes::LaneId;
use crate::{Message, Partition, RowRef, Seq};

pub(super) type EntryId = usize;

/// One message between its reading and its settlement.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) row: RowRef,
    pub(super) lane: LaneId,
    pub(super) destination: Destination,
    pub(super) message: Arc<Message>,
    pub(super) attempts: u32,
    pub(super) since: Duration,
    pub(super) state: EntryState,
    /// The largest batch it may travel in: halved each time a batch with it finds the broker
    /// unavailable, so that a message that causes this ends up alone.
    pub(super) batch_cap: usize,
    /// How often it found the broker unavailable while others passed, or was fenced.
    pub(super) passed_over: u32,
    /// The first batch that could start after this one, alone, had found its destination unavailable,
    /// since others passed the last time.
    alone_until: Option<BatchId>,
    /// How often others have passed between two of its failures alone.
    passed_by: u8,
    pub(super) told_stuck: bool,
    /// It goes where the message went that its lane is parked behind.
    pub(super) follows: bool,
}

/// A message that finds its broker unavailable whenever it is alone, while others pass each time, is
/// what breaks the connection. Twice, because an outage may begin between two of its tries.
const PASSED_BY: u8 = 2;

impl Entry {
    pub(super) fn new(
        row: RowRef,
        (lane, destination): (LaneId, Destination),
        message: Arc<Message>,
        attempts: u32,
        since: Duration,
    ) -> Self {
        Self {
            row,
            lane,
            destination,
            message,
            attempts,
            since,
            state: EntryState::Queued,
            batch_cap: usize::MAX,
            passed_over: 0,
            alone_until: None,
            passed_by: 0,
            told_stuck: false,
            follows: false,
        }
    }

    /// Alone it found its destination unavailable, which had taken messages of the batch `proven`
    /// before it was sent. A batch that was on the way when it failed before proves nothing: it may have
    /// been taken earlier. Returns whether the fault is its own.
    pub(super) fn fails_alone(&mut self, next: BatchId, proven: Option<BatchId>) -> bool {
        match self.alone_until {
            Some(first) if proven < Some(first) => {}
            before => {
                self.passed_by += u8::from(before.is_some());
                self.alone_until = Some(next);
            }
        }
        self.passed_by >= PASSED_BY
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EntryState {
    Queued,
    Flying,
    Settling,
}

#[derive(Debug, Default)]
pub(super) struct Window {
    entries: Slab<Entry>,
    places: HashMap<(Partition, Seq), EntryId>,
    bytes: usize,
    per_partition: HashMap<Partition, usize>,
    per_destination: HashMap<Destination, usize>,
    /// Rows settled while a reading is under way: it may have seen them before.
    settled: HashMap<(Partition, Seq), Uuid>,
}

/// What memory knows of a row that was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Known {
    No,
    Yes,
    /// Another message has its place: the `seq` was given out again, after a restore. The row can
    /// be taken once that message has left.
    Disputed,
}

impl Window {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(super) fn len_of(&self, partition: Partition) -> usize {
        self.per_partition.get(&partition).copied().unwrap_or(0)
    }

    pub(super) fn get(&self, id: EntryId) -> &Entry {
        &self.entries[id]
    }

    pub(super) fn get_mut(&mut self, id: EntryId) -> &mut Entry {
        &mut self.entries[id]
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        self.entries.iter_mut().map(|(_, entry)| entry)
    }

    pub(super) fn len_to(&self, destination: Destination) -> usize {
        self.per_destination.get(&destination).copied().unwrap_or(0)
    }

    pub(super) fn knows(&self, row: RowRef) -> Known {
        let place = (row.partition, row.seq);
        match self.places.get(&place).map(|id| self.entries[*id].row.id) {
            Some(id) if id == row.id => Known::Yes,
            Some(_) => Known::Disputed,
            None if self.settled.get(&place) == Some(&row.id) => Known::Yes,
            None => Known::No,
        }
    }

    pub(super) fn insert(&mut self, entry: Entry) -> EntryId {
        let place = (entry.row.partition, entry.row.seq);
        self.bytes += entry.message.size();
        *self.per_partition.entry(place.0).or_default() += 1;
        *self.per_destination.entry(entry.destination).or_default() += 1;
        let id = self.entries.insert(entry);
        self.places.insert(place, id);
        id
    }

    pub(super) fn remove(&mut self, id: EntryId) -> Entry {
        let entry = self.entries.remove(id);
        let place = (entry.row.partition, entry.row.seq);
        self.bytes -= entry.message.size();
        *self.per_partition.get_mut(&place.0).expect("counted when inserted") -= 1;
        let to = self.per_destination.get_mut(&entry.destination);
        *to.expect("counted when inserted") -= 1;
        self.places.remove(&place);
        entry
    }

    /// Remembers a settled row until the reading under way has returned.
    pub(super) fn remember_settled(&mut self, row: RowRef) {
        self.settled.insert((row.partition, row.seq), row.id);
    }

    pub(super) fn forget_settled(&mut self) {
        self.settled.clear();
    }
}
