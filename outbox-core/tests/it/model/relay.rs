//! A relay of the model: what `Machine` remembers of one lane, and its rules.

use super::Sabotage;
use super::store::{
    Epoch, LeaseCall, MAX_ATTEMPTS, MESSAGES, RelayId, Row, Settlement, Store, TTL, Verdict,
    VerdictAnswer,
};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Relay {
    pub(super) id: RelayId,
    pub(super) paused: bool,
    pub(super) tenure: Option<Tenure>,
    pub(super) leasing: Option<Leasing>,
    /// What it knows of each row (`Window`, `Lanes`).
    pub(super) entries: [Entry; MESSAGES],
    /// The page under way: each row with its attempts, if it was pending.
    pub(super) page: Option<[Option<u8>; MESSAGES]>,
    /// Rows that were settled while that page was under way.
    settled: [bool; MESSAGES],
    /// The settlement that was written, and its answer, which is on its way.
    pub(super) settling: Option<(Settlement, VerdictAnswer)>,
    /// What a killed predecessor left in a buffer, which may arrive at any time.
    pub(super) buffer: Option<usize>,
    /// It has handed its partition over and leaves it to others.
    retired: bool,
    /// It writes nothing down any more: broken on purpose.
    gave_up: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Tenure {
    pub(super) epoch: Epoch,
    /// Ticks for which it holds for sure.
    pub(super) left: u8,
    pub(super) state: TenureState,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum TenureState {
    Active,
    Draining,
    Lost,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Leasing {
    /// Ticks since it was asked for.
    pub(super) asked_ago: u8,
    /// The epoch under which the relay owned the partition then.
    pub(super) answer: Option<Epoch>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Entry {
    /// Not in memory.
    Away,
    Queued {
        attempts: u8,
    },
    /// Being published; `left` ticks until the call must have ended. It is known not to be sent, or
    /// was while its relay stood still.
    Flying {
        attempts: u8,
        left: u8,
        sent: bool,
    },
    /// To be settled, or being settled.
    Delivered,
    Judged {
        attempts: u8,
        epoch: Epoch,
    },
    /// It failed and is read again before anything of its lane is.
    Held,
}

impl Relay {
    pub(super) fn new(id: RelayId) -> Self {
        Self {
            id,
            paused: false,
            tenure: None,
            leasing: None,
            entries: [Entry::Away; MESSAGES],
            page: None,
            settled: [false; MESSAGES],
            settling: None,
            buffer: None,
            retired: false,
            gave_up: false,
        }
    }

    pub(super) fn is_active(&self) -> bool {
        self.tenure.is_some_and(|tenure| tenure.state == TenureState::Active)
    }

    pub(super) fn is_idle(&self) -> bool {
        self.entries.iter().all(|entry| *entry == Entry::Away)
    }

    /// The message on its way.
    pub(super) fn flight(&self) -> Option<(usize, Entry)> {
        let flying = |(_, entry): &(usize, &Entry)| matches!(entry, Entry::Flying { .. });
        self.entries.iter().enumerate().find(flying).map(|(row, entry)| (row, *entry))
    }

    /// What it asks of its lease next, if anything.
    pub(super) fn lease_call(&self, sabotage: Option<Sabotage>) -> Option<LeaseCall> {
        let early = sabotage == Some(Sabotage::ReleaseEarly) && self.flight().is_none();
        match self.tenure {
            None => (!self.retired).then_some(LeaseCall::Take),
            Some(Tenure { epoch, state: TenureState::Draining, .. }) if self.is_idle() || early => {
                Some(LeaseCall::Release(epoch))
            }
            Some(tenure) => (tenure.left < TTL).then_some(LeaseCall::Renew),
        }
    }

    /// `Leases::compare`: takes in the answer to a lease call.
    pub(super) fn leased(&mut self, sabotage: Option<Sabotage>) {
        let Some(Leasing { asked_ago, answer: epoch }) = self.leasing.take() else { return };
        let age = if sabotage == Some(Sabotage::LeaseFromAnswer) { 0 } else { asked_ago };
        let left = TTL.saturating_sub(age);
        let idle = self.is_idle() || sabotage == Some(Sabotage::ReleaseEarly);
        match (&mut self.tenure, epoch) {
            (Some(tenure), Some(epoch)) if tenure.epoch == epoch => tenure.left = left,
            (Some(Tenure { state: TenureState::Draining, .. }), None) if idle => {
                (self.tenure, self.retired) = (None, true);
            }
            (Some(_), _) => self.lose(),
            (None, Some(epoch)) => {
                self.tenure = Some(Tenure { epoch, left, state: TenureState::Active });
            }
            (None, None) => {}
        }
    }

    /// The partition is somebody else's: what is not on its way is dropped.
    fn lose(&mut self) {
        if let Some(tenure) = &mut self.tenure {
            (tenure.state, tenure.left) = (TenureState::Lost, 0);
        }
        self.drop_waiting();
        self.forget_lost();
    }

    /// A lost partition is forgotten once nothing of it is on the way.
    pub(super) fn forget_lost(&mut self) {
        if self.is_idle() && self.tenure.is_some_and(|t| t.state == TenureState::Lost) {
            self.tenure = None;
        }
    }

    /// Hands the partition over once nothing of it is on the way.
    pub(super) fn drain(&mut self) {
        if let Some(tenure) = &mut self.tenure {
            tenure.state = TenureState::Draining;
        }
        self.drop_waiting();
    }

    /// `Machine::rewind_all`: all that waits is read again; a page under way is of no use.
    pub(super) fn drop_waiting(&mut self) {
        for entry in &mut self.entries {
            if matches!(entry, Entry::Queued { .. } | Entry::Held) {
                *entry = Entry::Away;
            }
        }
        self.page = None;
        self.settled = [false; MESSAGES];
    }

    /// `Machine::take_page`.
    pub(super) fn fetched(&mut self, sabotage: Option<Sabotage>) {
        let Some(page) = self.page.take() else { return };
        let settled = std::mem::take(&mut self.settled);
        for (row, attempts) in page.into_iter().enumerate() {
            let forgets = sabotage == Some(Sabotage::ForgetSettled);
            let known = self.entries[row] != Entry::Away || (settled[row] && !forgets);
            let held = self.entries[..row].iter().any(|entry| entry.blocks());
            if let Some(attempts) = attempts.filter(|_| !known && !held) {
                self.entries[row] = Entry::Queued { attempts };
            }
        }
    }

    /// `Machine::reread`: the head of a lane that was put aside.
    pub(super) fn reread(&mut self, row: usize, store: &Store) {
        self.entries[row] = match store.rows[row] {
            Row::Pending { attempts } => Entry::Queued { attempts },
            Row::Settled | Row::Dead => Entry::Away,
        };
    }

    /// `Machine::next_batch`: the front of the lane, if there is time for it.
    pub(super) fn publishable(&self, timeout: u8, sabotage: Option<Sabotage>) -> Option<usize> {
        let tenure = self.tenure.filter(|_| self.is_active() && self.flight().is_none())?;
        if tenure.left < timeout && sabotage != Some(Sabotage::NoSelfStop) {
            return None;
        }
        let overtakes = sabotage == Some(Sabotage::Overtake);
        let waits = |entry: &&Entry| matches!(entry, Entry::Queued { .. });
        let front = self.entries.iter().position(|entry| waits(&entry))?;
        let blocked = self.entries[..front].iter().any(|entry| entry.blocks());
        (overtakes || !blocked).then_some(front)
    }

    pub(super) fn publish(&mut self, row: usize, timeout: u8) {
        if let Entry::Queued { attempts } = self.entries[row] {
            self.entries[row] = Entry::Flying { attempts, left: timeout, sent: false };
        }
    }

    /// `Judgement::Attempt`: a verdict, and what follows in the lane leaves memory.
    pub(super) fn fail(&mut self, sabotage: Option<Sabotage>) {
        let Some((row, Entry::Flying { attempts, .. })) = self.flight() else { return };
        self.entries[row] = match self.tenure {
            Some(Tenure { epoch, state: TenureState::Active | TenureState::Draining, .. }) => {
                Entry::Judged { attempts: attempts + 1, epoch }
            }
            _ => Entry::Away,
        };
        if sabotage != Some(Sabotage::Overtake) {
            for follower in &mut self.entries[row + 1..] {
                if let Entry::Queued { .. } = follower {
                    *follower = Entry::Away;
                }
            }
        }
        self.forget_lost();
    }

    /// `Outcome::Unknown`: it is sent once more, unless the partition is gone.
    pub(super) fn unknown(&mut self, sabotage: Option<Sabotage>) {
        let Some((row, Entry::Flying { attempts, .. })) = self.flight() else { return };
        self.entries[row] = if sabotage == Some(Sabotage::SettleUnconfirmed) {
            Entry::Delivered
        } else if self.is_active() {
            Entry::Queued { attempts }
        } else {
            Entry::Away
        };
        self.forget_lost();
    }

    /// `Machine::next_settlement`.
    pub(super) fn settlement(&self) -> Option<Settlement> {
        let mut settlement = Settlement::default();
        for (row, entry) in self.entries.iter().enumerate() {
            match *entry {
                Entry::Delivered => settlement.delivered[row] = true,
                Entry::Judged { attempts, epoch } => {
                    settlement.verdict = Some(Verdict { row, epoch, attempts });
                }
                _ => {}
            }
        }
        let busy = self.settling.is_some() || self.gave_up;
        (!busy && settlement != Settlement::default()).then_some(settlement)
    }

    /// `Machine::settled`.
    pub(super) fn settled(&mut self) {
        let Some((settlement, answer)) = self.settling.take() else { return };
        for row in 0..MESSAGES {
            if settlement.delivered[row] || settlement.verdict.is_some_and(|v| v.row == row) {
                self.entries[row] = Entry::Away;
                self.settled[row] = self.page.is_some();
            }
        }
        match (answer, settlement.verdict) {
            (VerdictAnswer::Applied, Some(Verdict { row, attempts, .. }))
                if attempts < MAX_ATTEMPTS && self.is_active() =>
            {
                self.entries[row] = Entry::Held;
            }
            (VerdictAnswer::EpochLost, Some(verdict))
                if self.tenure.is_some_and(|tenure| tenure.epoch == verdict.epoch) =>
            {
                self.lose();
            }
            _ => {}
        }
        self.forget_lost();
    }

    /// A settlement failed: it is written again, and what waits is read again.
    pub(super) fn settle_failed(&mut self, sabotage: Option<Sabotage>) {
        self.settling = None;
        self.gave_up = sabotage == Some(Sabotage::GiveUp);
        self.drop_waiting();
    }
}

impl Entry {
    /// Nothing of the lane may pass it.
    fn blocks(self) -> bool {
        matches!(self, Self::Flying { .. } | Self::Judged { .. } | Self::Held)
    }
}
