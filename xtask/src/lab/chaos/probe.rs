//! What a relay that has lost its partitions would write late: it must be refused.

use std::time::Duration;

use anyhow::Result;
use outbox_core::{
    Epoch, Fate, FetchRequest, Lease, LeaseRequest, Partition, PartitionRead, Reason, RelayId,
    RowRef, Seq, SettleRequest, Store, StoreError, Verdict, VerdictAnswer,
};
use uuid::Uuid;

/// Decisions under a lease that was lost, and what became of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Stale {
    pub(super) attempted: u64,
    pub(super) refused: u64,
    /// They were taken for those of an owner.
    pub(super) applied: u64,
}

/// Whose the partitions are.
pub(super) async fn leases(store: &dyn Store) -> Result<Vec<Lease>> {
    // Whoever leaves gives up what it never had, and isn't counted.
    let request = LeaseRequest {
        relay: RelayId(Uuid::now_v7()),
        ttl: Duration::from_secs(1),
        take: vec![],
        release: vec![],
        sick: false,
        leaving: true,
    };
    Ok(asked(async || store.lease(&request).await).await?.leases)
}

/// The connection may be one that a fault before this one has broken, and the next answer that of a
/// server which was restarted.
async fn asked<T>(ask: impl AsyncFn() -> Result<T, StoreError>) -> Result<T> {
    for _ in 0..2 {
        if let Ok(answer) = ask().await {
            return Ok(answer);
        }
    }
    Ok(ask().await?)
}

const ATTEMPTS: u32 = 200;

/// Decides, under each lease of `before` that was lost meanwhile, that what is pending is dead; as
/// soon as something is.
pub(super) async fn decide_late(store: &dyn Store, before: &[Lease]) -> Result<Stale> {
    let mut stale = Stale::default();
    let now = leases(store).await?;
    let lost: Vec<_> = before
        .iter()
        .zip(&now)
        .filter_map(|(was, is)| Some((was.partition, was.owner?, was.epoch, is)))
        .filter(|(_, owner, epoch, is)| is.owner != Some(*owner) || is.epoch != *epoch)
        .map(|(partition, owner, epoch, _)| (partition, owner, epoch))
        .collect();
    for _ in 0..ATTEMPTS {
        if stale.refused > 0 || stale.applied > 0 || lost.is_empty() {
            break;
        }
        for (partition, owner, epoch) in &lost {
            let rows = pending(store, *partition).await?;
            if !rows.is_empty() {
                stale.add(&decide(store, *owner, *epoch, rows).await?);
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(stale)
}

async fn pending(store: &dyn Store, partition: Partition) -> Result<Vec<RowRef>> {
    let read =
        PartitionRead { partition, after: Seq::START, limit: 16, bytes: u64::MAX, parked: false };
    let request = FetchRequest { reads: vec![read], horizon: Seq::START, look_limit: 0 };
    let page = asked(async || store.fetch(&request).await).await?;
    let named = |row: outbox_core::StoredRow| RowRef {
        partition: row.partition,
        seq: row.seq,
        id: row.message.id(),
    };
    Ok(page.rows.into_iter().map(named).collect())
}

async fn decide(
    store: &dyn Store,
    relay: RelayId,
    epoch: Epoch,
    rows: Vec<RowRef>,
) -> Result<Vec<VerdictAnswer>> {
    let error = Reason::new("decided too late");
    let verdict = |row| Verdict { row, epoch, attempts: 9, error: error.clone(), fate: Fate::Dead };
    let verdicts = rows.into_iter().map(verdict).collect();
    let request = SettleRequest { relay, delivered: vec![], verdicts };
    Ok(asked(async || store.settle(&request).await).await?.verdicts)
}

impl Stale {
    /// That a row has gone is said only under a lease that is held: it counts as written.
    fn add(&mut self, answers: &[VerdictAnswer]) {
        let refused = answers.iter().filter(|answer| **answer == VerdictAnswer::EpochLost).count();
        self.attempted += answers.len() as u64;
        self.refused += refused as u64;
        self.applied += (answers.len() - refused) as u64;
    }
}

impl std::ops::AddAssign for Stale {
    fn add_assign(&mut self, other: Self) {
        self.attempted += other.attempted;
        self.refused += other.refused;
        self.applied += other.applied;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_refused_for_its_epoch_is_refused() {
        let mut stale = Stale::default();
        stale.add(&[VerdictAnswer::EpochLost, VerdictAnswer::Gone, VerdictAnswer::Applied]);
        assert_eq!(stale, Stale { attempted: 3, refused: 1, applied: 2 });
    }
}
