//! How far each partition has been read.

use std::collections::BTreeMap;
use std::time::Duration;

use super::horizon::Horizon;
use crate::{Partition, PartitionRead, Seq, Visibility};

/// Reading positions, the horizon, and the number that tells pages read before a reset apart.
#[derive(Debug)]
pub(super) struct Cursors {
    partitions: BTreeMap<Partition, Cursor>,
    pub(super) horizon: Horizon,
    pub(super) reset: u64,
    pub(super) look_limit: u32,
    pub(super) full_look_at: Duration,
}

#[derive(Debug)]
pub(super) struct Cursor {
    pub(super) after: Seq,
    /// The last page had as many rows as were asked for, so more are likely.
    pub(super) hungry: bool,
    /// Unknown until a page has told which lanes are parked.
    pub(super) generation: Option<i64>,
}

/// A look starts with this bound and doubles it when there are more rows.
const LOOK_LIMIT: u32 = 8192;

/// A partition that had fewer rows than asked for last time gets this fraction of the room that
/// a full one gets.
const HUNGRY_WEIGHT: u64 = 8;

impl Cursors {
    pub(super) fn new(visibility: Visibility, full_look_at: Duration) -> Self {
        Self {
            partitions: BTreeMap::new(),
            horizon: Horizon::new(visibility),
            reset: 0,
            look_limit: LOOK_LIMIT,
            full_look_at,
        }
    }

    pub(super) fn add(&mut self, partition: Partition) {
        let cursor = Cursor { after: Seq::START, hungry: true, generation: None };
        self.partitions.insert(partition, cursor);
    }

    /// Forgets a partition, and with it what a page that is under way will say of it: should the
    /// partition come back before that page does, it is read from its start.
    pub(super) fn remove(&mut self, partition: Partition) {
        self.partitions.remove(&partition);
        self.reset += 1;
    }

    pub(super) fn get_mut(&mut self, partition: Partition) -> Option<&mut Cursor> {
        self.partitions.get_mut(&partition)
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.partitions.keys().copied()
    }

    pub(super) fn contains(&self, partition: Partition) -> bool {
        self.partitions.contains_key(&partition)
    }

    /// No partition is known to have more rows.
    pub(super) fn exhausted(&self) -> bool {
        self.partitions.values().all(|cursor| !cursor.hungry)
    }

    /// Reads everything from the start again; a page that is under way is of no use any more.
    pub(super) fn rewind(&mut self) {
        self.reset += 1;
        self.horizon = Horizon::new(self.horizon.visibility());
        for cursor in self.partitions.values_mut() {
            cursor.after = Seq::START;
            cursor.hungry = true;
        }
    }

    /// What is known of parked lanes may be out of date: the next page tells.
    pub(super) fn forget_generations(&mut self) {
        for cursor in self.partitions.values_mut() {
            cursor.generation = None;
        }
    }

    /// Shares the room among the partitions, most of it among those that are likely to fill it.
    pub(super) fn reads(&self, rows: usize, bytes: usize) -> Vec<PartitionRead> {
        let weight = |cursor: &Cursor| if cursor.hungry { HUNGRY_WEIGHT } else { 1 };
        let total: u64 = self.partitions.values().map(weight).sum();
        let part = |room: usize, cursor: &Cursor| room as u64 * weight(cursor) / total;
        let read = |(partition, cursor): (&Partition, &Cursor)| PartitionRead {
            partition: *partition,
            after: cursor.after,
            limit: match rows {
                0 => 0,
                _ => u32::try_from(part(rows, cursor).max(1)).unwrap_or(u32::MAX),
            },
            bytes: part(bytes, cursor).max(1),
            parked: cursor.generation.is_none(),
        };
        self.partitions.iter().map(read).collect()
    }
}
