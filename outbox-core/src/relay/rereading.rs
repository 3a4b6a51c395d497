//! Reading lanes again that were put aside.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::command::{Command, StoreCall, StoreFailure};
use super::lanes::{Hold, HoldState, LaneId, LaneName};
use super::machine::{Machine, Reading};
use super::window::Known;
use crate::{LaneRead, RereadRequest, Seq, StoredRow};

/// Lanes read again in one statement, and rows of each: enough to keep a broker busy.
const LANES_PER_REREAD: usize = 64;
const ROWS_PER_LANE: usize = 256;

impl Machine {
    pub(super) fn next_reread(&mut self, now: Duration) -> Command {
        let (rows, bytes) = self.room();
        let due = self.due_lanes(now, LANES_PER_REREAD.min(rows));
        let limit = ROWS_PER_LANE.min(rows / due.len()).max(1);
        let mut lanes = Vec::with_capacity(due.len());
        for id in &due {
            let hold = self.lanes.hold(*id).expect("a lane with a timer has a hold");
            let key = &self.lanes.get(*id).key;
            lanes.push(LaneRead {
                partition: key.partition,
                key: match &key.name {
                    LaneName::Key(key) => Some(Arc::clone(key)),
                    LaneName::Row(_) => None,
                },
                from: hold.from,
                to: hold.to,
                limit: if hold.head_only { 1 } else { u32::try_from(limit).unwrap_or(u32::MAX) },
                bytes: (bytes / due.len()).max(1) as u64,
            });
            self.lanes.set_hold(*id, Some(Hold { state: HoldState::Reading, ..hold }));
        }
        self.reading = Some(Reading::Lanes(due.into_iter().zip(lanes.clone()).collect()));
        self.pace.reread_last = true;
        Command::Reread(RereadRequest { lanes })
    }

    /// Lanes that share a key but not a destination take turns: a row names its key alone.
    fn due_lanes(&self, now: Duration, most: usize) -> Vec<LaneId> {
        let mut keys = HashSet::new();
        let mut fresh = |id: &LaneId| {
            let key = &self.lanes.get(*id).key;
            keys.insert((key.partition, &key.name))
        };
        self.lanes.due(now).filter(|id| fresh(id)).take(most).collect()
    }

    pub(super) fn reread(&mut self, now: Duration, answer: Result<Vec<StoredRow>, StoreFailure>) {
        let Some(lanes) =
            self.reading.take_if(|reading| !reading.is_page()).and_then(Reading::lanes)
        else {
            return;
        };
        match answer {
            Ok(rows) => {
                self.store_worked(StoreCall::Read);
                self.take_lanes(now, lanes, rows);
            }
            Err(failure) => {
                // The rewinding that follows forgets holds, and conflicts try the same again.
                for (lane, _) in lanes {
                    self.resume_reading(lane, now);
                }
                self.store_failed(now, StoreCall::Read, failure);
            }
        }
        self.window.forget_settled();
    }

    fn resume_reading(&mut self, lane: LaneId, now: Duration) {
        if let Some(hold) = self.lanes.reading(lane) {
            let state = HoldState::Until(now);
            self.lanes.set_hold(lane, Some(Hold { state, ..hold }));
        }
    }

    fn take_lanes(
        &mut self,
        now: Duration,
        lanes: Vec<(LaneId, LaneRead)>,
        mut rows: Vec<StoredRow>,
    ) {
        for (lane, read) in lanes {
            let (own, others) = rows.into_iter().partition(|row| read.matches(row));
            rows = others;
            // A lane that has changed meanwhile is read again when its time comes.
            if let Some(hold) = self.lanes.reading(lane) {
                self.take_lane(now, lane, hold, &read, own);
            }
        }
    }

    fn take_lane(
        &mut self,
        now: Duration,
        lane: LaneId,
        hold: Hold,
        read: &LaneRead,
        rows: Vec<StoredRow>,
    ) {
        let bytes: u64 = rows.iter().map(|row| row.message.payload().len() as u64).sum();
        let complete = rows.len() < read.limit as usize && bytes < read.bytes;
        let last = rows.last().map(|row| row.seq);
        let rest = match last {
            Some(last) if !complete && last < hold.to => Some(Seq(last.0 + 1)),
            _ => None,
        };
        self.lanes.set_hold(lane, None);
        for row in rows {
            let known = self.window.knows(row.place());
            self.disputed |= known == Known::Disputed;
            let destination = (self.route)(row.message.topic());
            if known != Known::No || destination != self.lanes.get(lane).key.destination {
                continue;
            }
            let behind = self.parked.behind(&self.lanes.get(lane).key);
            if self.lanes.hold(lane).is_some() {
                self.lanes.hold_row(lane, row.seq, now);
            } else if behind == Some(row.message.id()) {
                self.was_put_back(now, lane, row.seq);
            } else {
                self.admit(now, lane, row);
            }
        }
        if let Some(from) = rest {
            self.lanes.hold_row(lane, from, now);
        }
        if rest.is_some() || self.lanes.hold(lane).is_some() {
            self.lanes.hold_row(lane, hold.to, now);
        }
        self.lanes.tidy(lane, now);
    }
}

impl LaneRead {
    fn matches(&self, row: &StoredRow) -> bool {
        let lane = self.partition == row.partition && (self.from..=self.to).contains(&row.seq);
        lane && self.key.as_deref() == row.message.key()
    }
}
