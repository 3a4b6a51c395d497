//! The store of the model: a partition with its lease and the rows of one key, as far as
//! `outbox_core::Store` promises. Each call happens at one instant.

/// A relay in one of its runs: one that was killed comes back under another identity.
pub(super) type RelayId = u8;

pub(super) type Epoch = u8;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Row {
    Pending { attempts: u8 },
    Settled,
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Store {
    pub(super) rows: [Row; MESSAGES],
    pub(super) owner: Option<RelayId>,
    pub(super) epoch: Epoch,
    /// Ticks until the lease runs out.
    pub(super) left: u8,
    /// A verdict was written by somebody who no longer owned the partition.
    pub(super) stale_write: bool,
}

/// What a settlement tells (`SettleRequest`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Settlement {
    /// The rows that were delivered.
    pub(super) delivered: [bool; MESSAGES],
    pub(super) verdict: Option<Verdict>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Verdict {
    pub(super) row: usize,
    pub(super) epoch: Epoch,
    pub(super) attempts: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum VerdictAnswer {
    None,
    Applied,
    Gone,
    EpochLost,
}

/// Messages of one key, all committed from the start. The first may fail.
pub(super) const MESSAGES: usize = 2;

/// How long a lease holds, in ticks.
pub(super) const TTL: u8 = 2;

/// A message dies of so many failures.
pub(super) const MAX_ATTEMPTS: u8 = 2;

impl Store {
    pub(super) fn new() -> Self {
        let rows = [Row::Pending { attempts: 0 }; MESSAGES];
        Self { rows, owner: None, epoch: 0, left: 0, stale_write: false }
    }

    /// Renews, releases or takes the lease. Returns the epoch under which the relay owns it then.
    pub(super) fn lease(&mut self, relay: RelayId, call: LeaseCall) -> Option<Epoch> {
        if self.owner == Some(relay) {
            match call {
                LeaseCall::Release(epoch) if epoch == self.epoch => {
                    (self.owner, self.left) = (None, 0);
                }
                _ => self.left = TTL,
            }
        } else if call == LeaseCall::Take && (self.owner.is_none() || self.left == 0) {
            (self.owner, self.left) = (Some(relay), TTL);
            self.epoch += 1;
        }
        (self.owner == Some(relay)).then_some(self.epoch)
    }

    /// The rows that are pending, with their attempts.
    pub(super) fn page(&self) -> [Option<u8>; MESSAGES] {
        let attempts = |row: &Row| match row {
            Row::Pending { attempts } => Some(*attempts),
            Row::Settled | Row::Dead => None,
        };
        self.rows.each_ref().map(attempts)
    }

    pub(super) fn settle(
        &mut self,
        relay: RelayId,
        settlement: &Settlement,
        fenced: bool,
    ) -> VerdictAnswer {
        for (row, delivered) in self.rows.iter_mut().zip(settlement.delivered) {
            if delivered && matches!(row, Row::Pending { .. }) {
                *row = Row::Settled;
            }
        }
        let Some(verdict) = settlement.verdict else { return VerdictAnswer::None };
        let stale = self.owner != Some(relay) || self.epoch != verdict.epoch;
        if stale && fenced {
            return VerdictAnswer::EpochLost;
        }
        let Row::Pending { .. } = self.rows[verdict.row] else { return VerdictAnswer::Gone };
        self.stale_write |= stale;
        self.rows[verdict.row] = match verdict.attempts {
            MAX_ATTEMPTS.. => Row::Dead,
            attempts => Row::Pending { attempts },
        };
        VerdictAnswer::Applied
    }
}

/// What a relay asks of its lease (`LeaseRequest`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum LeaseCall {
    Take,
    Renew,
    Release(Epoch),
}
