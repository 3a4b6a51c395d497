//! Settling: writing down what became of messages, and going on from there.

use std::time::Duration;

use super::command::{Command, Event, StoreCall, StoreFailure};
use super::lanes::{Hold, HoldState};
use super::machine::{Asked, Machine};
use super::window::{Entry, EntryId, EntryState};
use crate::{
    Epoch, Fate, Partition, Reason, SettleReport, SettleRequest, StoreErrorKind, Verdict,
    VerdictAnswer,
};

#[derive(Debug, Default)]
pub(super) struct Settlements {
    delivered: Vec<EntryId>,
    verdicts: Vec<Pending>,
    /// What the call under way is about.
    under_way: Option<(Asked, Vec<EntryId>, Vec<Pending>)>,
}

#[derive(Debug, Clone)]
struct Pending {
    entry: EntryId,
    epoch: Epoch,
    attempts: u32,
    error: Reason,
    fate: Fate,
}

impl Machine {
    pub(super) fn settle_delivered(&mut self, id: EntryId) {
        self.window.get_mut(id).state = EntryState::Settling;
        self.settlements.delivered.push(id);
    }

    /// Counts an attempt; after the last one the message is given up.
    pub(super) fn fail(&mut self, id: EntryId, error: Reason) {
        let attempts = self.window.get(id).attempts.saturating_add(1);
        let policy = self.config.retry;
        if attempts >= policy.max_attempts {
            return self.bury(id, attempts, error);
        }
        let delay = policy.backoff.jittered(attempts - 1, &mut self.rng);
        self.block(id, true);
        self.decide(id, attempts, error, Fate::Retry(delay));
    }

    /// Gives a message up; its lane goes on behind it, or follows it.
    pub(super) fn bury(&mut self, id: EntryId, attempts: u32, error: Reason) {
        self.block(id, false);
        self.decide(id, attempts, error, self.fate_of_dead(id));
    }

    pub(super) fn decide(&mut self, entry: EntryId, attempts: u32, error: Reason, fate: Fate) {
        self.window.get_mut(entry).state = EntryState::Settling;
        let partition = self.window.get(entry).row.partition;
        let epoch = self.leases.get(partition).map_or(Epoch::default(), |tenure| tenure.epoch);
        self.settlements.verdicts.push(Pending { entry, epoch, attempts, error, fate });
    }

    pub(super) fn next_settlement(&mut self, now: Duration) -> Option<Command> {
        self.settlement_timeout().filter(|due| *due <= now)?;
        let most = self.config.settle_batch;
        let pending = &mut self.settlements;
        let verdicts: Vec<Pending> =
            pending.verdicts.drain(..pending.verdicts.len().min(most)).collect();
        let rest = (most - verdicts.len()).min(pending.delivered.len());
        let delivered: Vec<EntryId> = pending.delivered.drain(..rest).collect();
        let request = SettleRequest {
            relay: self.relay,
            delivered: delivered.iter().map(|id| self.window.get(*id).row).collect(),
            verdicts: verdicts.iter().map(|pending| self.verdict(pending)).collect(),
        };
        self.settlements.under_way = Some((self.asked(now), delivered, verdicts));
        Some(Command::Settle(request))
    }

    fn verdict(&self, pending: &Pending) -> Verdict {
        Verdict {
            row: self.window.get(pending.entry).row,
            epoch: pending.epoch,
            attempts: pending.attempts,
            error: pending.error.clone(),
            fate: pending.fate,
        }
    }

    pub(super) fn settlement_timeout(&self) -> Option<Duration> {
        let pending = &self.settlements;
        let idle = pending.delivered.is_empty() && pending.verdicts.is_empty();
        (pending.under_way.is_none() && !idle).then(|| self.retry_of(StoreCall::Settle))
    }

    pub(super) fn settled(&mut self, now: Duration, answer: Result<SettleReport, StoreFailure>) {
        let Some((asked, delivered, verdicts)) = self.settlements.under_way.take() else { return };
        let answer = answer.and_then(|report| {
            let complete = report.verdicts.len() == verdicts.len();
            let reason = Reason::new("a settlement was answered in part");
            complete.then_some(report).ok_or(StoreFailure { kind: StoreErrorKind::Other, reason })
        });
        let report = match answer {
            Ok(report) => report,
            Err(failure) => {
                // Whether it was written is unknown; writing it again changes nothing.
                self.settlements.delivered.extend(delivered);
                self.settlements.verdicts.extend(verdicts);
                return self.store_failed(now, StoreCall::Settle, failure);
            }
        };
        self.store_worked(StoreCall::Settle);
        if asked.reset == self.cursors.reset {
            self.cursors.horizon.tx(asked.seen, report.tx);
        }
        for id in delivered {
            self.let_go(id);
        }
        let parks = |pending: &Pending| matches!(pending.fate, Fate::Parked { .. });
        let parks = verdicts.iter().any(parks);
        let refused = report.verdicts.contains(&VerdictAnswer::NotParked);
        for (pending, answer) in verdicts.into_iter().zip(report.verdicts) {
            self.answered(now, pending, answer);
        }
        if parks {
            self.check_parked(now, asked, refused);
        }
        if std::mem::take(&mut self.disputed) {
            self.rewind_all(now);
        }
    }

    /// A settled message leaves memory; a reading that is under way may still bring its row.
    fn let_go(&mut self, id: EntryId) -> Entry {
        let entry = self.window.remove(id);
        if self.reading.is_some() {
            self.window.remember_settled(entry.row);
        }
        entry
    }

    pub(super) fn epoch_lost(&mut self, partition: Partition, epoch: Epoch) {
        if self.leases.lose(partition, epoch) {
            self.lost(partition);
        }
    }

    fn answered(&mut self, now: Duration, pending: Pending, answer: VerdictAnswer) {
        let Entry { lane, row, follows, .. } = self.let_go(pending.entry);
        let Pending { epoch, attempts, error, fate, .. } = pending;
        if let Fate::Parked { behind } = fate
            && follows
        {
            return self.follower_answered(now, (lane, row), (epoch, behind), answer);
        }
        let mut at = now;
        match (answer, fate) {
            (VerdictAnswer::Applied, Fate::Retry(delay)) => {
                at = now + delay;
                self.tell(Event::Retried { id: row.id, attempts, delay, error });
            }
            (VerdictAnswer::Applied, Fate::Dead | Fate::Parked { .. }) => {
                if fate != Fate::Dead {
                    self.lane_parked(lane, row);
                }
                self.tell(Event::Dead { id: row.id, attempts, error });
            }
            // Somebody delivered it: the lane is free.
            (VerdictAnswer::Gone | VerdictAnswer::NotParked, _) => {}
            (VerdictAnswer::EpochLost, _) => self.epoch_lost(row.partition, epoch),
        }
        let stays = matches!((answer, fate), (VerdictAnswer::Applied, Fate::Retry(_)));
        let hold = self.lanes.hold(lane).expect("a verdict keeps its lane held");
        let alone = hold.from == row.seq && hold.to == row.seq;
        let hold = (self.leases.is_active(row.partition) && (stays || !alone)).then_some(Hold {
            state: HoldState::Until(at),
            head_only: stays,
            ..hold
        });
        self.lanes.set_hold(lane, hold);
        self.lanes.tidy(lane, now);
    }
}
