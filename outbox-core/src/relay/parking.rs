//! Parked lanes: their messages wait among the dead letters until an operator decides.
//!
//! Only the owner of a partition parks lanes, and only a redrive, which changes the partition's
//! generation, lifts that. So what was read together with a generation holds as long as pages show
//! the same one, but for what this relay parked since.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use uuid::Uuid;

use super::command::Event;
use super::lanes::{Hold, HoldState, LaneId, LaneKey, LaneName};
use super::machine::{Asked, Machine};
use super::window::{Entry, EntryId};
use crate::{
    Epoch, Fate, Page, ParkedLane, Partition, PartitionRead, Reason, RowRef, Seq, StoredRow,
    VerdictAnswer,
};

/// What happens to the later messages of a key when one of them is given up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum DeadLetterPolicy {
    /// They go on without it; a redrive puts it behind all that is pending.
    #[default]
    Skip,
    /// They wait beside it, among the dead letters; a redrive puts all of them back in their order,
    /// in front of newer ones. Messages without a key have no successors and are skipped.
    Park,
}

#[derive(Debug, Default)]
pub(super) struct Parked {
    /// By the message that each waits behind.
    lanes: HashMap<LaneKey, Uuid>,
    now: ParkedAt,
}

/// Tells apart what was asked for before something changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct ParkedAt {
    /// How many messages this relay has parked: a page that was asked for before may not show it.
    parked: u64,
    /// How many pages told of parked lanes: what was parked before may have been put back since.
    told: u64,
}

impl Parked {
    pub(super) fn behind(&self, lane: &LaneKey) -> Option<Uuid> {
        self.lanes.get(lane).copied()
    }

    pub(super) fn now(&self) -> ParkedAt {
        self.now
    }

    pub(super) fn len(&self) -> usize {
        self.lanes.len()
    }

    pub(super) fn forget(&mut self, partition: Partition) {
        self.lanes.retain(|lane, _| lane.partition != partition);
    }
}

impl Machine {
    /// Takes in what a page tells of generations and parked lanes. Returns whether its rows can be
    /// used.
    pub(super) fn take_generations(
        &mut self,
        now: Duration,
        asked: Asked,
        reads: &[PartitionRead],
        page: &Page,
    ) -> bool {
        let told = |partition| {
            let read = reads.iter().find(|read| read.partition == partition && read.parked);
            read.map(|read| read.after)
        };
        let tells = reads.iter().any(|read| read.parked);
        if tells && asked.parked.parked != self.parked.now.parked {
            self.pace.wake(now);
            return false;
        }
        let mut changed = false;
        self.parked.now.told += u64::from(tells);
        for (partition, generation) in &page.generations {
            let Some(cursor) = self.cursors.get_mut(*partition) else { continue };
            if let Some(after) = told(*partition) {
                cursor.generation = Some(*generation);
                self.parked.forget(*partition);
                // Rows may have been put back behind what was read meanwhile.
                changed |= after > Seq::START;
            } else if cursor.generation != Some(*generation) {
                cursor.generation = None;
                changed = true;
            }
        }
        for ParkedLane { partition, key, behind, topic } in &page.parked {
            if told(*partition).is_some() && self.cursors.contains(*partition) {
                let key = Some(Arc::clone(key));
                let lane = self.lane_key(*partition, Seq::START, topic, key);
                self.parked.lanes.insert(lane, *behind);
            }
        }
        if changed {
            // Rows were put back in front of the cursors.
            self.rewind_all(now);
        }
        !changed
    }

    /// What becomes of a message that is given up.
    pub(super) fn fate_of_dead(&self, id: EntryId) -> Fate {
        let entry = self.window.get(id);
        match (self.config.dead_letters, &self.lanes.get(entry.lane).key.name) {
            (DeadLetterPolicy::Park, LaneName::Key(_)) => Fate::Parked { behind: entry.row.id },
            _ => Fate::Dead,
        }
    }

    /// Sends a row of a parked lane after its predecessors.
    pub(super) fn park(&mut self, now: Duration, lane_id: LaneId, row: StoredRow, behind: Uuid) {
        let (place, attempts) = (row.place(), row.attempts);
        let lane = self.lanes.get_mut(lane_id);
        lane.parking += 1;
        let lane = (lane_id, lane.key.destination);
        let mut entry = Entry::new(place, lane, row.message, attempts, now);
        // Its id may be that of the message that died: somebody enqueued it twice.
        entry.follows = true;
        let entry = self.window.insert(entry);
        let reason = Reason::new(format!("waits behind message {behind}"));
        self.decide(entry, attempts, reason, Fate::Parked { behind });
    }

    /// The message that a lane waits behind was read again: it was put back, which the next page
    /// tells.
    pub(super) fn was_put_back(&mut self, now: Duration, lane: LaneId, seq: Seq) {
        self.cursors.forget_generations();
        self.pace.wake(now);
        let state = HoldState::Until(now + self.config.poll.first);
        self.lanes.set_hold(lane, Some(Hold { from: seq, to: seq, state, head_only: false }));
    }

    /// A message died under the policy to park what comes after it.
    pub(super) fn lane_parked(&mut self, lane: LaneId, row: RowRef) {
        self.parked.now.parked += 1;
        if self.cursors.contains(row.partition) {
            self.parked.lanes.insert(self.lanes.get(lane).key.clone(), row.id);
        }
    }

    /// After a settlement was answered that parked something, or couldn't.
    pub(super) fn check_parked(&mut self, now: Duration, asked: Asked, refused: bool) {
        if refused || asked.parked.told != self.parked.now.told {
            // It was put back meanwhile; a page may have shown it while it was still in memory.
            self.cursors.forget_generations();
            self.rewind_all(now);
        }
    }

    /// The answer to [`park`](Self::park), after the message has left memory.
    pub(super) fn follower_answered(
        &mut self,
        now: Duration,
        (lane, row): (LaneId, RowRef),
        (epoch, behind): (Epoch, Uuid),
        answer: VerdictAnswer,
    ) {
        match answer {
            VerdictAnswer::Applied => {
                self.parked.now.parked += 1;
                self.tell(Event::Parked { id: row.id, behind });
            }
            // Somebody delivered it.
            VerdictAnswer::Gone => {}
            VerdictAnswer::NotParked => {
                self.parked.lanes.remove(&self.lanes.get(lane).key);
            }
            VerdictAnswer::EpochLost => self.epoch_lost(row.partition, epoch),
        }
        self.lanes.get_mut(lane).parking -= 1;
        self.lanes.tidy(lane, now);
    }
}
