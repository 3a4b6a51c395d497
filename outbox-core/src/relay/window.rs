//! The messages in memory: bounded in number and in bytes.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use super::command::Destination;
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
    /// How many messages its destination had taken when this one, alone, found it unavailable.
    pub(super) alone_at: Option<u64>,
    pub(super) told_stuck: bool,
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
    /// Rows settled while a reading is under way: it may have seen them before.
    settled: HashSet<(Partition, Seq)>,
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

    /// The entry at that place, whatever its id.
    pub(super) fn at(&self, partition: Partition, seq: Seq) -> Option<&Entry> {
        self.places.get(&(partition, seq)).map(|id| &self.entries[*id])
    }

    pub(super) fn is_known(&self, partition: Partition, seq: Seq) -> bool {
        let place = (partition, seq);
        self.places.contains_key(&place) || self.settled.contains(&place)
    }

    pub(super) fn insert(&mut self, entry: Entry) -> EntryId {
        let place = (entry.row.partition, entry.row.seq);
        self.bytes += entry.message.size();
        *self.per_partition.entry(place.0).or_default() += 1;
        let id = self.entries.insert(entry);
        self.places.insert(place, id);
        id
    }

    pub(super) fn remove(&mut self, id: EntryId) -> Entry {
        let entry = self.entries.remove(id);
        let place = (entry.row.partition, entry.row.seq);
        self.bytes -= entry.message.size();
        *self.per_partition.get_mut(&place.0).expect("counted when inserted") -= 1;
        self.places.remove(&place);
        entry
    }

    /// Remembers a settled row until the reading under way has returned.
    pub(super) fn remember_settled(&mut self, row: RowRef) {
        self.settled.insert((row.partition, row.seq));
    }

    pub(super) fn forget_settled(&mut self) {
        self.settled.clear();
    }
}
