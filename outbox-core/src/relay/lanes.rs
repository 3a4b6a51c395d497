//! Lanes: the messages of one key for one destination, which go in order.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use slab::Slab;

use super::command::Destination;
use super::window::EntryId;
use crate::{Partition, Seq};

pub(super) type LaneId = usize;

/// What makes a lane. A message without a key has one of its own.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct LaneKey {
    pub(super) partition: Partition,
    pub(super) destination: Destination,
    pub(super) name: LaneName,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum LaneName {
    Key(Arc<str>),
    Row(Seq),
}

impl LaneName {
    pub(super) fn of(key: Option<Arc<str>>, seq: Seq) -> Self {
        key.map_or(Self::Row(seq), Self::Key)
    }
}

#[derive(Debug)]
pub(super) struct Lane {
    pub(super) key: LaneKey,
    /// Messages in memory that wait for their turn, in order.
    pub(super) queue: VecDeque<EntryId>,
    /// Messages that are being published.
    pub(super) busy: usize,
    /// Messages that are being moved after one that died.
    pub(super) parking: usize,
    /// Rows that are not in memory and must be read before anything newer.
    pub(super) hold: Option<Hold>,
    /// It stands in its destination's queue of ready lanes.
    pub(super) listed: bool,
    /// It isn't listed before its time: its first message found the broker unavailable.
    pub(super) rests: bool,
}

/// The rows `from..=to` of a lane, to be read again from the store. Their messages are not in
/// memory, so that a blocked lane costs the same however many messages wait in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hold {
    pub(super) from: Seq,
    pub(super) to: Seq,
    pub(super) state: HoldState,
    /// Only the first row is wanted: it failed before, and the others wait for it.
    pub(super) head_only: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum HoldState {
    /// The verdict over its head is being written.
    Settling,
    /// What is in memory of the lane goes first.
    Waiting,
    /// It may be read from that time on.
    Until(Duration),
    /// It is being read.
    Reading,
}

#[derive(Debug, Default)]
pub(super) struct Lanes {
    slab: Slab<Lane>,
    by_key: HashMap<LaneKey, LaneId>,
    /// The holds that are in [`HoldState::Until`], by time.
    timers: BTreeSet<(Duration, LaneId)>,
    /// When lanes have rested enough.
    resting: BTreeSet<(Duration, LaneId)>,
    held: usize,
}

impl Lanes {
    pub(super) fn get(&self, id: LaneId) -> &Lane {
        &self.slab[id]
    }

    pub(super) fn get_mut(&mut self, id: LaneId) -> &mut Lane {
        &mut self.slab[id]
    }

    /// The lane, if it is still there.
    pub(super) fn try_get_mut(&mut self, id: LaneId) -> Option<&mut Lane> {
        self.slab.get_mut(id)
    }

    /// The hold of a lane that is being read again, if nothing has changed since that began.
    pub(super) fn reading(&self, id: LaneId) -> Option<Hold> {
        let hold = self.slab.get(id)?.hold?;
        (hold.state == HoldState::Reading).then_some(hold)
    }

    pub(super) fn find(&self, key: &LaneKey) -> Option<LaneId> {
        self.by_key.get(key).copied()
    }

    pub(super) fn open(&mut self, key: LaneKey) -> LaneId {
        *self.by_key.entry(key).or_insert_with_key(|key| {
            self.slab.insert(Lane {
                key: key.clone(),
                queue: VecDeque::new(),
                busy: 0,
                parking: 0,
                hold: None,
                listed: false,
                rests: false,
            })
        })
    }

    /// How many lanes have rows to be read again.
    pub(super) fn held(&self) -> usize {
        self.held
    }

    pub(super) fn hold(&self, id: LaneId) -> Option<Hold> {
        self.slab[id].hold
    }

    /// Sets or lifts the hold, keeping the timers in step.
    pub(super) fn set_hold(&mut self, id: LaneId, hold: Option<Hold>) {
        let lane = &mut self.slab[id];
        if let Some(Hold { state: HoldState::Until(at), .. }) = lane.hold {
            self.timers.remove(&(at, id));
        }
        self.held -= usize::from(lane.hold.is_some());
        self.held += usize::from(hold.is_some());
        lane.hold = hold;
        if let Some(Hold { state: HoldState::Until(at), .. }) = hold {
            self.timers.insert((at, id));
        }
    }

    /// Extends the lane's hold to cover `seq`. A new hold waits for what the lane has in memory.
    pub(super) fn hold_row(&mut self, id: LaneId, seq: Seq, now: Duration) {
        let hold = match self.slab[id].hold {
            Some(hold) => Hold { from: hold.from.min(seq), to: hold.to.max(seq), ..hold },
            None => Hold { from: seq, to: seq, state: HoldState::Waiting, head_only: false },
        };
        self.set_hold(id, Some(hold));
        self.tidy(id, now);
    }

    /// Lets a waiting hold be read once nothing of its lane is in memory, and forgets a lane of
    /// which nothing is left.
    pub(super) fn tidy(&mut self, id: LaneId, now: Duration) {
        let lane = &self.slab[id];
        if !lane.queue.is_empty() || lane.busy > 0 || lane.parking > 0 {
            return;
        }
        match lane.hold {
            Some(hold) if hold.state == HoldState::Waiting => {
                self.set_hold(id, Some(Hold { state: HoldState::Until(now), ..hold }));
            }
            None if !lane.listed => {
                let lane = self.slab.remove(id);
                self.by_key.remove(&lane.key);
            }
            _ => {}
        }
    }

    /// When the next hold may be read.
    pub(super) fn next_due(&self) -> Option<Duration> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// The holds that may be read now, longest due first.
    pub(super) fn due(&self, now: Duration) -> impl Iterator<Item = LaneId> {
        self.timers.iter().take_while(move |(at, _)| *at <= now).map(|(_, id)| *id)
    }

    /// Keeps a lane from being listed until then. Its first message stays in memory, with what is
    /// known of it.
    pub(super) fn rest(&mut self, id: LaneId, until: Duration) {
        self.slab[id].rests = true;
        self.resting.insert((until, id));
    }

    /// How many lanes rest.
    pub(super) fn resting(&self) -> usize {
        self.resting.len()
    }

    pub(super) fn next_rested(&self) -> Option<Duration> {
        self.resting.first().map(|(at, _)| *at)
    }

    /// The lanes that have rested enough.
    pub(super) fn rested(&mut self, now: Duration) -> Vec<LaneId> {
        let mut rested = Vec::new();
        while self.next_rested().is_some_and(|at| at <= now) {
            let Some((_, id)) = self.resting.pop_first() else { break };
            // One that was dropped meanwhile may have left its place to another, which only comes
            // sooner by that.
            if let Some(lane) = self.slab.get_mut(id) {
                lane.rests = false;
                rested.push(id);
            }
        }
        rested
    }

    /// Lanes of these partitions that have something to send but are not in line for it.
    pub(super) fn unlisted(&self, partitions: &[Partition]) -> Vec<LaneId> {
        let waits = |lane: &Lane| {
            !lane.listed && !lane.queue.is_empty() && partitions.contains(&lane.key.partition)
        };
        self.slab.iter().filter(|(_, lane)| waits(lane)).map(|(id, _)| id).collect()
    }

    pub(super) fn of_partitions(&self, whose: impl Fn(Partition) -> bool) -> Vec<LaneId> {
        let here = |lane: &Lane| whose(lane.key.partition);
        self.slab.iter().filter(|(_, lane)| here(lane)).map(|(id, _)| id).collect()
    }
}
