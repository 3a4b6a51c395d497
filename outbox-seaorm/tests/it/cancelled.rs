//! Calls that are dropped midway.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use crate::support::{Bed, connect, for_every_database, keys, message, number, run};

for_every_database!(
    a_begin_dropped_midway_does_not_poison_the_pool,
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

/// FAILURES row 29. Seen to fail, on PostgreSQL and MariaDB, with `Outbox::begin` awaiting SeaORM's
/// own `begin_with_options` instead of a task: the update that followed was in a transaction that
/// nobody ends.
async fn a_begin_dropped_midway_does_not_poison_the_pool(bed: Bed) {
    let single = connect(&bed.place.url, 1).await;
    let partition = bed.table("_partition");
    let mut dropped = 0;
    for round in 1..=30 {
        dropped += usize::from(!poll_times(bed.outbox.begin(&single), 1 + round % 5).await);
        run(&single, &format!("UPDATE {partition} SET generation = generation + 1")).await;
        let seen = format!("SELECT generation FROM {partition} WHERE partition_no = 0");
        assert_eq!(number(bed.db(), &seen).await, i64::try_from(round).unwrap());
    }
    assert!(dropped > 0, "no call was dropped midway");
}

async fn a_commit_dropped_midway_is_whole_or_nothing(bed: Bed) {
    let mut dropped = 0;
    for times in 1..12 {
        let mut tx = bed.outbox.begin(bed.db()).await.unwrap();
        let name = format!("{times}");
        bed.outbox.enqueue(&tx, &message(&name)).await.unwrap();
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
