//! Calls that are dropped midway.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use outbox_core::{Fate, SettleRequest, Store as _, VerdictAnswer};
use outbox_sqlx::StoreConfig;

use crate::support::{
    Bed, Kind, epoch, for_every_database, keys, lease_request, message, relay, verdict,
};

for_every_database!(
    a_begin_dropped_midway_does_not_poison_the_pool,
    a_call_dropped_midway_holds_no_lock,
    a_commit_dropped_midway_is_whole_or_nothing,
);

/// Polls `future` until it has waited `times`, then drops it. Says whether it came to its end.
async fn poll_times(future: impl Future, times: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..times {
        let once = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        if once.await {
            return true;
        }
        // Time for what the future waits for to arrive, or not.
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    false
}

/// FAILURES row 29. Seen to fail, on PostgreSQL and MariaDB, with `Outbox::begin` awaiting sqlx's
/// own `begin` instead of a task: the insert that followed was in a transaction that nobody ends.
async fn a_begin_dropped_midway_does_not_poison_the_pool<DB: Kind>(bed: Bed<DB>) {
    let options = (*bed.pool().connect_options()).clone();
    let single = sqlx::pool::PoolOptions::new().max_connections(1).connect_with(options);
    let single = single.await.unwrap();
    let partition = bed.table("_partition");
    let mut dropped = 0;
    for round in 1..=30 {
        dropped += usize::from(!poll_times(bed.outbox.begin(&single), 1 + round % 5).await);
        let count = format!("UPDATE {partition} SET generation = generation + 1");
        DB::sql(&single, count).await.unwrap();
        let sum = format!("SELECT generation FROM {partition} WHERE partition_no = 0");
        assert_eq!(DB::number(bed.pool(), sum).await, i64::try_from(round).unwrap());
    }
    assert!(dropped > 0, "no call was dropped midway");
}

/// Seen to fail with the session left in its slot while an operation runs: the transaction that
/// the dropped call had begun kept its locks.
async fn a_call_dropped_midway_holds_no_lock<DB: Kind>(bed: Bed<DB>) {
    bed.enqueue(&["a"]).await;
    let impatient = StoreConfig { lock_timeout: Duration::from_secs(2), ..StoreConfig::default() };
    let (cancelled, other) =
        (bed.store_with(impatient.clone()).await, bed.store_with(impatient).await);
    let owner = relay();
    let lease = lease_request(owner, &[0, 1, 2, 3]);
    cancelled.lease(&lease).await.unwrap();
    let row = bed.all().await.remove(0);
    let mut dropped = 0;
    for times in 1..30 {
        let report = other.lease(&lease).await.unwrap();
        let verdicts = vec![verdict(
            &row,
            epoch(&report, &row),
            u32::try_from(times).unwrap(),
            Fate::Retry(Duration::ZERO),
        )];
        let settle = SettleRequest { relay: owner, delivered: vec![], verdicts };
        dropped += usize::from(!poll_times(cancelled.lease(&lease), times).await);
        other.lease(&lease).await.unwrap();
        dropped += usize::from(!poll_times(cancelled.settle(&settle), times).await);
        assert_eq!(other.settle(&settle).await.unwrap().verdicts, [VerdictAnswer::Applied]);
        dropped +=
            usize::from(!poll_times(cancelled.fetch(&crate::support::fetch_all()), times).await);
    }
    assert!(dropped > 10, "only {dropped} calls were dropped midway");
    let report = cancelled.lease(&lease).await.unwrap();
    assert_eq!(report.leases[0].epoch.0, 1, "no call changed more than it was asked to");
    let page = cancelled.fetch(&crate::support::fetch_all()).await.unwrap();
    assert_eq!((page.rows.len(), page.rows[0].attempts), (1, 29));
}

async fn a_commit_dropped_midway_is_whole_or_nothing<DB: Kind>(bed: Bed<DB>) {
    let mut dropped = 0;
    for times in 1..12 {
        let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
        let name = format!("{times}");
        bed.outbox.enqueue(&mut tx, &message(&name)).await.unwrap();
        tx.emit(message(&name)).unwrap();
        dropped += usize::from(!poll_times(tx.commit(), times).await);
    }
    assert!(dropped > 0, "no commit was dropped midway");
    // What was in flight comes to an end at the server.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let keys = keys(&bed.all().await);
    for times in 1..12 {
        let stored = keys.iter().filter(|key| **key == format!("{times}")).count();
        assert!(stored == 0 || stored == 2, "{stored} of the transaction's two messages");
    }
}
