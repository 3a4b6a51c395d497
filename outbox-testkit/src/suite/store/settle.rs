//! Removing what was delivered.

use outbox_core::{Partition, RowRef, Seq};
use uuid::Uuid;

use super::Fixture;
use super::fixture::{ids, message, messages};
use crate::adapter::row_ref;

pub async fn a_delivered_row_is_removed(outbox: &Fixture) {
    let rows = outbox.rows_of(&messages("k", 3)).await;
    outbox.deliver(&[row_ref(&rows[1])]).await;
    let left = [rows[0].message.id(), rows[2].message.id()];
    assert_eq!(ids(&outbox.pending().await), left);
    assert_eq!(outbox.dead().await, [], "it is no dead letter");
}

pub async fn only_the_row_of_that_id_and_partition_is_removed(outbox: &Fixture) {
    let rows = outbox.rows_of(&messages("k", 2)).await;
    let row = row_ref(&rows[0]);
    let elsewhere = Partition((row.partition.0 + 1) % outbox.store.partitions());
    let wrong = [
        RowRef { id: Uuid::now_v7(), ..row },
        RowRef { id: rows[1].message.id(), ..row },
        RowRef { seq: Seq(row.seq.0 + 1_000_000), ..row },
        RowRef { partition: elsewhere, ..row },
    ];
    outbox.deliver(&wrong).await;
    assert_eq!(outbox.pending().await, rows);
    // Beside a right one, too.
    outbox.deliver(&[wrong[0], row_ref(&rows[1]), wrong[3]]).await;
    assert_eq!(outbox.pending().await, rows[..1]);
}

pub async fn delivered_needs_no_lease(outbox: &Fixture) {
    let rows = outbox.rows_of(&[message("k")]).await;
    let owner = outbox.relay().await;
    owner.take(rows[0].partition, super::fixture::LONG).await;
    outbox.relay().await.deliver(&[row_ref(&rows[0])]).await;
    assert_eq!(outbox.pending().await, [], "a fact, whoever reports it");
}

pub async fn delivered_twice_is_no_error(outbox: &Fixture) {
    let rows = outbox.rows_of(&messages("k", 2)).await;
    let row = row_ref(&rows[0]);
    outbox.deliver(&[row, row]).await;
    outbox.deliver(&[row]).await;
    assert_eq!(outbox.pending().await, rows[1..]);
}

pub async fn a_thousand_are_settled_at_once(outbox: &Fixture) {
    let sent: Vec<_> = (0..1_001).map(|n| message(&format!("key-{n}"))).collect();
    let rows = outbox.rows_of(&sent).await;
    let delivered: Vec<_> = rows[1..].iter().map(row_ref).collect();
    outbox.deliver(&delivered).await;
    assert_eq!(outbox.pending().await, rows[..1]);
}

pub async fn nothing_to_settle_is_no_error(outbox: &Fixture) {
    let rows = outbox.rows_of(&[message("k")]).await;
    assert_eq!(outbox.deliver(&[]).await.verdicts, []);
    assert_eq!(outbox.pending().await, rows);
}
