//! Settling: what became of messages.

use std::time::Duration;

use outbox_core::{
    Fate, Partition, RelayId, RowRef, SettleReport, SettleRequest, Verdict, VerdictAnswer,
};
use uuid::Uuid;

use super::database::DeadRow;
use super::{Database, Sabotage};

impl Database {
    /// See [`Store::settle`](outbox_core::Store::settle).
    pub fn settle(&mut self, now: Duration, request: &SettleRequest) -> SettleReport {
        let tx = self.passing_tx();
        for row in &request.delivered {
            self.remove_delivered(*row);
        }
        let decide = |verdict| self.apply(now, request.relay, verdict);
        SettleReport { verdicts: request.verdicts.iter().map(decide).collect(), tx }
    }

    fn remove_delivered(&mut self, row: RowRef) {
        let by_seq = self.sabotaged(Sabotage::DeleteBySeq);
        let rows = &mut self.table_mut(row.partition).rows;
        if rows.get(&row.seq).is_some_and(|found| by_seq || found.message.id() == row.id) {
            rows.remove(&row.seq);
            self.counters.delivered += 1;
        } else {
            self.counters.delivered_gone += 1;
        }
    }

    fn apply(&mut self, now: Duration, relay: RelayId, verdict: &Verdict) -> VerdictAnswer {
        let RowRef { partition, seq, id } = verdict.row;
        let stale = !self.leases.owns(relay, partition, verdict.epoch);
        if stale && !self.sabotaged(Sabotage::NoFence) {
            self.counters.stale_refused += 1;
            return VerdictAnswer::EpochLost;
        }
        let add_attempts = self.sabotaged(Sabotage::AddAttempts);
        let no_parking_check = self.sabotaged(Sabotage::ParkUnchecked);
        let rows = &mut self.partitions[usize::from(partition.0)].rows;
        let Some(row) = rows.get_mut(&seq).filter(|row| row.message.id() == id) else {
            if self.dead.iter().any(|dead| dead.is_of(verdict)) {
                return VerdictAnswer::Applied;
            }
            self.counters.verdicts_gone += 1;
            return VerdictAnswer::Gone;
        };
        let follows = |behind| behind != id && !no_parking_check;
        if let Fate::Parked { behind } = verdict.fate
            && follows(behind)
            && !self.dead.iter().any(|dead| dead.parks(partition, behind, row.message.key()))
        {
            self.counters.not_parked += 1;
            return VerdictAnswer::NotParked;
        }
        self.counters.stale_applied += u64::from(stale);
        row.attempts = verdict.attempts + if add_attempts { row.attempts } else { 0 };
        match verdict.fate {
            Fate::Retry(delay) => {
                row.retry_at = Some(now + delay);
                self.counters.retried += 1;
            }
            Fate::Dead | Fate::Parked { .. } => {
                let behind = match verdict.fate {
                    Fate::Parked { behind } => Some(behind),
                    _ => None,
                };
                let row = rows.remove(&seq).expect("it was found above");
                let error = verdict.error.clone();
                self.bury(DeadRow { partition, seq, row, error, died_at: now, behind });
            }
        }
        VerdictAnswer::Applied
    }
}

impl DeadRow {
    /// A verdict that parks has been written already.
    fn is_of(&self, verdict: &Verdict) -> bool {
        let RowRef { partition, seq, id } = verdict.row;
        let same = (self.partition, self.seq, self.row.message.id()) == (partition, seq, id);
        same && matches!(verdict.fate, Fate::Parked { behind } if self.behind == Some(behind))
    }

    /// It is what the lane of that key waits behind.
    fn parks(&self, partition: Partition, behind: Uuid, key: Option<&str>) -> bool {
        let is_it = self.behind == Some(behind) && !self.waits();
        is_it && self.partition == partition && self.row.message.key() == key
    }
}
