//! Settling: what became of messages.

use std::time::Duration;

use outbox_core::{Fate, RelayId, RowRef, SettleReport, SettleRequest, Verdict, VerdictAnswer};

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
        let rows = &mut self.partitions[usize::from(partition.0)].rows;
        let Some(row) = rows.get_mut(&seq).filter(|row| row.message.id() == id) else {
            self.counters.verdicts_gone += 1;
            return VerdictAnswer::Gone;
        };
        self.counters.stale_applied += u64::from(stale);
        row.attempts = verdict.attempts + if add_attempts { row.attempts } else { 0 };
        match verdict.fate {
            Fate::Retry(delay) => {
                row.retry_at = Some(now + delay);
                self.counters.retried += 1;
            }
            Fate::Dead => {
                let row = rows.remove(&seq).expect("it was found above");
                let error = verdict.error.clone();
                self.bury(DeadRow { partition, seq, row, error, died_at: now });
            }
        }
        VerdictAnswer::Applied
    }
}
