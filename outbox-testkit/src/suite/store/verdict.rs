//! Verdicts on what was not delivered, and the fence around them.

use std::time::Duration;

use outbox_core::{Epoch, Fate, LeaseRequest, Reason, RowRef, StoredRow, VerdictAnswer};
use uuid::Uuid;

use super::Fixture;
use super::fixture::{LONG, Relay, SHORT, message, messages, verdict};
use crate::adapter::row_ref;

pub async fn a_retry_comes_back_with_its_delay(outbox: &Fixture) {
    let (owner, epoch, row) = owned(outbox).await;
    let delay = 10 * SHORT;
    let retry = verdict(&row, epoch, 1, Fate::Retry(delay), "later");
    assert_eq!(owner.decide(retry).await, VerdictAnswer::Applied);
    let first = retry_in(outbox).await.expect("it waits");
    assert!(first <= delay, "{first:?}");
    outbox.wait(SHORT).await;
    let second = retry_in(outbox).await.unwrap_or_default();
    assert!(second + SHORT / 2 <= first, "{first:?}, then {second:?}");
    outbox.wait(delay).await;
    assert_eq!(retry_in(outbox).await, None, "it is due");
    assert_eq!(outbox.pending().await[0].message, row.message);
}

pub async fn attempts_are_set_not_added(outbox: &Fixture) {
    let (owner, epoch, row) = owned(outbox).await;
    for attempts in [1, 3, 3, 2] {
        let retry = verdict(&row, epoch, attempts, Fate::Retry(LONG), "later");
        assert_eq!(owner.decide(retry).await, VerdictAnswer::Applied);
        assert_eq!(outbox.pending().await[0].attempts, attempts);
    }
}

pub async fn the_dead_are_moved_with_their_reason(outbox: &Fixture) {
    let (owner, epoch, row) = owned(outbox).await;
    let next = outbox.rows_of(&[message("k")]).await;
    let reason = "broker said: 'no' — \\x00 \u{1f4a5} ".repeat(40);
    let dead = verdict(&row, epoch, 7, Fate::Dead, &reason);
    assert_eq!(owner.decide(dead).await, VerdictAnswer::Applied);
    assert_eq!(outbox.pending().await, next);
    let letters = outbox.dead().await;
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].message, *row.message);
    assert_eq!((letters[0].partition, letters[0].attempts), (row.partition, 7));
    assert_eq!(letters[0].error, Reason::new(&reason).as_str());
}

pub async fn a_row_that_has_gone_is_told_apart(outbox: &Fixture) {
    let (owner, epoch, row) = owned(outbox).await;
    outbox.deliver(&[row_ref(&row)]).await;
    for fate in [Fate::Retry(LONG), Fate::Dead] {
        let answer = owner.decide(verdict(&row, epoch, 1, fate, "late")).await;
        assert_eq!(answer, VerdictAnswer::Gone);
    }
    assert_eq!((outbox.pending().await, outbox.dead().await), (Vec::new(), Vec::new()));
}

pub async fn a_row_of_another_id_is_left_alone(outbox: &Fixture) {
    let (owner, epoch, row) = owned(outbox).await;
    for fate in [Fate::Retry(LONG), Fate::Dead] {
        let mut wrong = verdict(&row, epoch, 1, fate, "mistaken");
        wrong.row = RowRef { id: Uuid::now_v7(), ..wrong.row };
        assert_eq!(owner.decide(wrong).await, VerdictAnswer::Gone);
    }
    assert_untouched(outbox, &row).await;
}

pub async fn without_the_epoch_nothing_is_written(outbox: &Fixture) {
    let (owner, epoch, row) = owned(outbox).await;
    let stranger = outbox.relay().await;
    for fate in [Fate::Retry(LONG), Fate::Dead] {
        for (relay, epoch) in
            [(&owner, Epoch(epoch.0 - 1)), (&owner, Epoch(epoch.0 + 1)), (&stranger, epoch)]
        {
            let answer = relay.decide(verdict(&row, epoch, 1, fate, "stale")).await;
            assert_eq!(answer, VerdictAnswer::EpochLost);
        }
    }
    assert_untouched(outbox, &row).await;
}

pub async fn a_released_partition_takes_no_verdict(outbox: &Fixture) {
    let (owner, epoch, row) = owned(outbox).await;
    owner.release(row.partition, epoch).await;
    let answer = owner.decide(verdict(&row, epoch, 1, Fate::Dead, "stale")).await;
    assert_eq!(answer, VerdictAnswer::EpochLost);
    assert_untouched(outbox, &row).await;
}

pub async fn a_partition_of_another_owner_takes_no_verdict(outbox: &Fixture) {
    let row = outbox.rows_of(&[message("k")]).await.remove(0);
    let (zombie, successor) = (outbox.relay().await, outbox.relay().await);
    let old = zombie.take(row.partition, SHORT).await;
    outbox.wait(2 * SHORT).await;
    let new = successor.take(row.partition, LONG).await;
    for fate in [Fate::Retry(LONG), Fate::Dead] {
        let answer = zombie.decide(verdict(&row, old, 1, fate, "stale")).await;
        assert_eq!(answer, VerdictAnswer::EpochLost);
    }
    assert_untouched(outbox, &row).await;
    let answer = successor.decide(verdict(&row, new, 1, Fate::Retry(LONG), "later")).await;
    assert_eq!(answer, VerdictAnswer::Applied);
}

pub async fn answers_come_in_the_order_of_the_verdicts(outbox: &Fixture) {
    let sent: Vec<_> =
        [0, 1, 0, 0, 0].map(|at| message(&outbox.key_in(outbox_core::Partition(at)))).into();
    let rows = outbox.rows_of(&sent).await;
    let owner = outbox.relay().await;
    let epoch = owner.take(rows[0].partition, LONG).await;
    outbox.deliver(&[row_ref(&rows[3])]).await;
    let decide = |at: usize, fate| verdict(&rows[at], epoch, 1, fate, "reason");
    let verdicts = vec![
        decide(2, Fate::Dead),
        decide(1, Fate::Dead),
        decide(3, Fate::Retry(LONG)),
        decide(0, Fate::Retry(LONG)),
    ];
    let expected = [
        VerdictAnswer::Applied,
        VerdictAnswer::EpochLost,
        VerdictAnswer::Gone,
        VerdictAnswer::Applied,
    ];
    let report = owner.settle(vec![row_ref(&rows[4])], verdicts).await;
    assert_eq!(report.verdicts, expected);
    let pending = outbox.pending().await;
    let left: Vec<_> = pending.iter().map(|row| (row.seq, row.attempts)).collect();
    assert_eq!(left, [(rows[0].seq, 1), (rows[1].seq, 0)]);
    assert_eq!(outbox.dead().await[0].message, *rows[2].message);
}

/// A pending row and the owner of its partition.
async fn owned(outbox: &Fixture) -> (Relay, Epoch, StoredRow) {
    let row = outbox.rows_of(&messages("k", 1)).await.remove(0);
    let owner = outbox.relay().await;
    // Not the first epoch, so that there was one before.
    let report = owner.try_take(row.partition, LONG).await;
    let epoch = report.leases[usize::from(row.partition.0)].epoch;
    let again = LeaseRequest {
        release: vec![(row.partition, epoch)],
        take: vec![row.partition],
        ..owner.request(LONG)
    };
    owner.lease(again).await;
    let report = owner.renew(LONG).await;
    let lease = report.leases[usize::from(row.partition.0)];
    assert_eq!(lease.owner, Some(owner.id));
    (owner, lease.epoch, row)
}

async fn retry_in(outbox: &Fixture) -> Option<Duration> {
    let rows = outbox.pending().await;
    let row = rows.first().expect("a row that waits is shown");
    row.retry_in.filter(|remaining| !remaining.is_zero())
}

async fn assert_untouched(outbox: &Fixture, row: &StoredRow) {
    assert_eq!(outbox.pending().await, std::slice::from_ref(row));
    assert_eq!(outbox.dead().await, []);
}
