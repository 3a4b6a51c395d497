//! The fence: what a relay decides counts only while it owns the partition.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Fate, LeaseRequest, SettleRequest, Store as _, VerdictAnswer};
use outbox_sqlx::StoreConfig;

use crate::support::{
    Bed, Kind, epoch, for_every_database, lease_request, mariadb, newest_postgres, postgres, relay,
    verdict,
};

for_every_database!(a_zombie_changes_nothing);

/// FAILURES row 10. Seen to fail with the epoch taken out of the fence of either statement, and
/// with the fence taken out.
async fn a_zombie_changes_nothing<DB: Kind>(bed: Bed<DB>) {
    bed.enqueue(&["a", "b"]).await;
    let zombie = relay();
    let short = LeaseRequest { ttl: Duration::ZERO, ..lease_request(zombie, &[0, 1, 2, 3]) };
    let stale = bed.store.lease(&short).await.unwrap();
    let fresh = bed.lease(relay(), &[0, 1, 2, 3]).await;
    let rows = bed.all().await;
    for fate in [Fate::Retry(Duration::from_secs(9)), Fate::Dead] {
        let verdicts = rows.iter().map(|row| verdict(row, epoch(&stale, row), 7, fate)).collect();
        assert_eq!(bed.decide(zombie, verdicts).await.verdicts, [VerdictAnswer::EpochLost; 2]);
        // Even if it knew the epoch, the owner is another.
        let verdicts = rows.iter().map(|row| verdict(row, epoch(&fresh, row), 7, fate)).collect();
        assert_eq!(bed.decide(zombie, verdicts).await.verdicts, [VerdictAnswer::EpochLost; 2]);
    }
    // Nor under an old epoch of its own, after it has lost the partition and got it back.
    bed.execute(format!("UPDATE {} SET ttl = 0", bed.table("_lease"))).await;
    let again = bed.lease(zombie, &[0, 1, 2, 3]).await;
    let dead = rows.iter().map(|row| verdict(row, epoch(&stale, row), 7, Fate::Dead)).collect();
    assert_eq!(bed.decide(zombie, dead).await.verdicts, [VerdictAnswer::EpochLost; 2]);
    assert_eq!(bed.all().await, rows);
    // What it decides as the owner that it is does.
    let dead = rows.iter().map(|row| verdict(row, epoch(&again, row), 7, Fate::Dead)).collect();
    assert_eq!(bed.decide(zombie, dead).await.verdicts, [VerdictAnswer::Applied; 2]);
}

/// FAILURES row 10: a verdict waits for a lock on its row while another relay takes the partition
/// over. Once that has been reported, the verdict must change nothing any more.
///
/// Seen to fail with the lease rows read without a lock (on PostgreSQL no `FOR SHARE`, on MariaDB
/// no `LOCK IN SHARE MODE`): the take-over was reported at once, and the verdict written after it.
async fn a_take_over_waits_for_a_verdict_that_waits<DB: Kind>(bed: Bed<DB>) {
    bed.enqueue(&["a"]).await;
    let patient = StoreConfig { lock_timeout: Duration::from_secs(20), ..StoreConfig::default() };
    let old = Arc::new(bed.store_with(patient.clone()).await);
    let new = bed.store_with(patient).await;
    for fate in [Fate::Retry(Duration::ZERO), Fate::Dead] {
        let (first, second) = (relay(), relay());
        bed.execute(format!("UPDATE {} SET ttl = 0", bed.table("_lease"))).await;
        let short = Duration::from_millis(200);
        let lease = LeaseRequest { ttl: short, ..lease_request(first, &[0, 1, 2, 3]) };
        let report = old.lease(&lease).await.unwrap();
        let row = bed.all().await.remove(0);
        let attempts = row.attempts + 1;
        let verdicts = vec![verdict(&row, epoch(&report, &row), attempts, fate)];

        let mut holder = bed.pool().begin().await.unwrap();
        DB::raw(&mut holder, &format!("SELECT seq FROM {} FOR UPDATE", bed.table(""))).await;
        let settling = tokio::spawn({
            let old = Arc::clone(&old);
            let request = SettleRequest { relay: first, delivered: vec![], verdicts };
            async move { old.settle(&request).await.unwrap().verdicts }
        });
        tokio::time::sleep(short * 2).await;
        assert!(!settling.is_finished(), "the verdict waits for the row");
        let free = async {
            tokio::time::sleep(short * 2).await;
            holder.rollback().await.unwrap();
        };
        let take = lease_request(second, &[row.partition.0]);
        let ((), seen_by_new_owner) = tokio::join!(free, async {
            loop {
                let report = new.lease(&take).await.unwrap();
                if report.leases[usize::from(row.partition.0)].owner == Some(second) {
                    break bed.all().await;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
        let answer = settling.await.unwrap();
        assert_eq!(answer, [VerdictAnswer::Applied]);
        assert_eq!(bed.all().await, seen_by_new_owner, "{fate:?} after the take-over");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_waits_on_postgres() {
    a_take_over_waits_for_a_verdict_that_waits(postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_waits_on_the_newest_postgres() {
    a_take_over_waits_for_a_verdict_that_waits(newest_postgres().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_take_over_waits_on_mariadb() {
    a_take_over_waits_for_a_verdict_that_waits(mariadb().await).await;
}
