//! Parked lanes while a redrive and a relay meet.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{
    Admin as _, DeadChange, DeadFilter, Fate, SettleRequest, Store as _, StoredRow, VerdictAnswer,
};
use outbox_sqlx::{Store, StoreConfig};

use crate::support::{Bed, Kind, epoch, mariadb, newest_postgres, postgres, relay, verdict};

/// A relay that has parked the first of two messages of a key, and what it is about to say of the
/// second.
async fn with_a_follower<DB: Kind>(
    bed: &Bed<DB>,
) -> (Arc<Store<DB>>, SettleRequest, Vec<StoredRow>) {
    bed.enqueue(&["a", "a"]).await;
    let owner = relay();
    let patient = StoreConfig { lock_timeout: Duration::from_secs(20), ..StoreConfig::default() };
    let store = Arc::new(bed.store_with(patient).await);
    let report = bed.lease(owner, &[0, 1, 2, 3]).await;
    let rows = bed.all().await;
    let fate = Fate::Parked { behind: rows[0].message.id() };
    let say = |row| vec![verdict(row, epoch(&report, row), 1, fate)];
    assert_eq!(bed.decide(owner, say(&rows[0])).await.verdicts, [VerdictAnswer::Applied]);
    let request = SettleRequest { relay: owner, delivered: vec![], verdicts: say(&rows[1]) };
    (store, request, rows)
}

/// Without a lock on the lane the message would stay among the dead letters, behind one that has
/// gone from there.
async fn a_verdict_that_waits_for_a_redrive_parks_nothing<DB: Kind>(bed: Bed<DB>) {
    let (store, request, rows) = with_a_follower(&bed).await;
    let mut redrive = bed.pool().begin().await.unwrap();
    DB::raw(&mut redrive, &format!("DELETE FROM {}", bed.table("_parked"))).await;
    let settling = tokio::spawn(async move { store.settle(&request).await.unwrap().verdicts });
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!settling.is_finished(), "the verdict waits for the redrive");
    redrive.commit().await.unwrap();
    assert_eq!(settling.await.unwrap(), [VerdictAnswer::NotParked]);
    assert_eq!(bed.all().await, rows[1..]);
}

/// MariaDB's verdict locks its row before the lane, and so is the one that waits.
async fn a_redrive_waits_for_a_verdict_that_parks<DB: Kind>(bed: Bed<DB>) {
    let (store, request, rows) = with_a_follower(&bed).await;
    let mut holder = bed.pool().begin().await.unwrap();
    DB::raw(&mut holder, &format!("SELECT seq FROM {} FOR UPDATE", bed.table(""))).await;
    let relay = Arc::clone(&store);
    let settling = tokio::spawn(async move { relay.settle(&request).await.unwrap().verdicts });
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!settling.is_finished(), "the verdict waits for its row");
    let operator = bed.store_with(StoreConfig::default()).await;
    let redriving = tokio::spawn(async move {
        operator.redrive(&DeadChange::new("test", DeadFilter::default())).await.unwrap()
    });
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!redriving.is_finished(), "the redrive waits for the verdict");
    holder.rollback().await.unwrap();
    assert_eq!(settling.await.unwrap(), [VerdictAnswer::Applied]);
    assert_eq!(redriving.await.unwrap(), 2);
    let back = bed.all().await;
    assert_eq!(back.len(), 2);
    assert!(back.iter().zip(&rows).all(|(back, row)| back.seq == row.seq));
}

async fn both<DB: Kind>(open: impl AsyncFn() -> Bed<DB>) {
    a_verdict_that_waits_for_a_redrive_parks_nothing(open().await).await;
    a_redrive_waits_for_a_verdict_that_parks(open().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_and_redrives_wait_for_each_other_on_postgres() {
    both(postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn relays_and_redrives_wait_for_each_other_on_the_newest_postgres() {
    both(newest_postgres).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_verdict_waits_for_a_redrive_on_mariadb() {
    a_verdict_that_waits_for_a_redrive_parks_nothing(mariadb().await).await;
}
