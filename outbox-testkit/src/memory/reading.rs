//! Fetching and rereading: what one snapshot shows.

use std::time::Duration;

use outbox_core::{
    FetchRequest, LaneRead, Page, ParkedLane, Partition, PartitionRead, RereadRequest, RowBehind,
    Seq, StoredRow,
};

use super::database::{DeadRow, Row};
use super::{Database, Sabotage};

impl Database {
    /// See [`Store::fetch`](outbox_core::Store::fetch).
    pub fn fetch(&self, now: Duration, request: &FetchRequest) -> Page {
        let mut page =
            Page { xmin: self.xmin(), vacant: self.leases.vacant(now), ..Page::default() };
        for read in &request.reads {
            self.read_ahead(now, read, &mut page.rows);
            self.look_behind(read, request, &mut page);
            page.generations.push((read.partition, self.table(read.partition).generation));
            if read.parked && !self.sabotaged(Sabotage::HideParked) {
                page.parked.extend(self.parked_lanes(read.partition));
            }
        }
        page
    }

    /// See [`Store::reread`](outbox_core::Store::reread).
    pub fn reread(&self, now: Duration, request: &RereadRequest) -> Vec<StoredRow> {
        let mut rows = Vec::new();
        for lane in &request.lanes {
            self.read_lane(now, lane, &mut rows);
        }
        rows
    }

    fn read_ahead(&self, now: Duration, read: &PartitionRead, rows: &mut Vec<StoredRow>) {
        let hide_waiting = self.sabotaged(Sabotage::HideWaiting);
        let ahead = self.table(read.partition).rows.range(after(read.after)..);
        let shown = ahead.filter(|(_, row)| !hide_waiting || row.retry_in(now).is_none());
        let mut budget = Budget::new(read.limit, read.bytes);
        rows.extend(
            shown
                .take_while(|(_, row)| budget.admits(row))
                .map(|(seq, row)| row.stored(read.partition, *seq, now)),
        );
    }

    fn look_behind(&self, read: &PartitionRead, request: &FetchRequest, page: &mut Page) {
        if read.after <= request.horizon || self.sabotaged(Sabotage::NoLook) {
            return;
        }
        let behind = after(request.horizon)..=read.after;
        for (seq, row) in self.table(read.partition).rows.range(behind) {
            if page.behind.len() == request.look_limit as usize {
                page.look_truncated = true;
                return;
            }
            page.behind.push(row.behind(read.partition, *seq));
        }
    }

    fn parked_lanes(&self, partition: Partition) -> impl Iterator<Item = ParkedLane> {
        let here = move |dead: &&DeadRow| dead.partition == partition && !dead.waits();
        self.dead.iter().filter(here).filter_map(|dead| {
            let parts = dead.row.message.parts();
            let (key, topic) = (parts.key.clone()?, parts.topic.clone());
            Some(ParkedLane { partition: dead.partition, key, behind: dead.behind?, topic })
        })
    }

    fn read_lane(&self, now: Duration, lane: &LaneRead, rows: &mut Vec<StoredRow>) {
        let to = if lane.key.is_some() { lane.to } else { lane.from };
        if lane.from > to {
            return;
        }
        let table = self.table(lane.partition);
        let mine = table
            .rows
            .range(lane.from..=to)
            .filter(|(_, row)| row.message.key() == lane.key.as_deref());
        let mut budget = Budget::new(lane.limit, lane.bytes);
        rows.extend(
            mine.take_while(|(_, row)| budget.admits(row))
                .map(|(seq, row)| row.stored(lane.partition, *seq, now)),
        );
    }
}

impl Row {
    fn retry_in(&self, now: Duration) -> Option<Duration> {
        let remaining = self.retry_at?.saturating_sub(now);
        (!remaining.is_zero()).then_some(remaining)
    }

    fn stored(&self, partition: Partition, seq: Seq, now: Duration) -> StoredRow {
        StoredRow {
            partition,
            seq,
            attempts: self.attempts,
            retry_in: self.retry_in(now),
            message: self.message.clone(),
            defect: self.defect.clone(),
        }
    }

    fn behind(&self, partition: Partition, seq: Seq) -> RowBehind {
        let parts = self.message.parts();
        RowBehind {
            partition,
            seq,
            id: parts.id,
            topic: parts.topic.clone(),
            key: parts.key.clone(),
        }
    }
}

/// How much may still be read: the row that reaches the bytes is the last, a first always comes.
struct Budget {
    rows: u32,
    bytes: u64,
    read: u64,
    first: bool,
}

impl Budget {
    fn new(rows: u32, bytes: u64) -> Self {
        Self { rows, bytes, read: 0, first: true }
    }

    fn admits(&mut self, row: &Row) -> bool {
        let full = self.rows == 0 || (self.read >= self.bytes && !self.first);
        if !full {
            self.rows -= 1;
            self.first = false;
            self.read += row.message.payload().len() as u64;
        }
        !full
    }
}

fn after(seq: Seq) -> Seq {
    Seq(seq.0.saturating_add(1))
}
