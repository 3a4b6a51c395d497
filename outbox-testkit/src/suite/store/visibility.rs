//! What readers see of writers.

use std::time::Duration;

use outbox_core::{LaneRead, RereadRequest, Seq, TxId, Visibility};

use super::Fixture;
use super::fixture::{ALL, LONG, ids, ids_of, message, messages, read, seqs};

pub async fn uncommitted_rows_are_seen_by_nobody(outbox: &Fixture) {
    let sent = message("k");
    let partition = outbox.partition_of("k");
    let mut writer = outbox.harness.begin().await;
    writer.insert(std::slice::from_ref(&sent)).await;
    assert_eq!(outbox.pending().await, []);
    let ahead = Seq(i64::MAX - 1);
    let page = outbox.look(vec![read(partition, ahead)], Seq::START, ALL).await;
    assert_eq!(page.behind, []);
    let lane = LaneRead {
        partition,
        key: Some("k".into()),
        from: Seq::START,
        to: ahead,
        limit: ALL,
        bytes: u64::MAX,
    };
    let request = RereadRequest { lanes: vec![lane] };
    assert_eq!(outbox.store.reread(&request).await.unwrap(), []);
    writer.commit().await;
    assert_eq!(ids(&outbox.pending().await), [sent.id()]);
    let page = outbox.look(vec![read(partition, ahead)], Seq::START, ALL).await;
    assert_eq!(page.behind.len(), 1);
    assert_eq!(outbox.store.reread(&request).await.unwrap().len(), 1);
}

pub async fn rolled_back_rows_are_never_seen(outbox: &Fixture) {
    let mut writer = outbox.harness.begin().await;
    writer.insert(&messages("k", 2)).await;
    writer.rollback().await;
    assert_eq!(outbox.pending().await, []);
    let next = message("k");
    outbox.enqueue(std::slice::from_ref(&next)).await;
    assert_eq!(ids(&outbox.pending().await), [next.id()]);
}

pub async fn a_transaction_appears_at_once(outbox: &Fixture) {
    let sent: Vec<_> = (0..20).map(|n| message(&format!("key-{n}"))).collect();
    let mut writer = outbox.harness.begin().await;
    for messages in sent.chunks(5) {
        writer.insert(messages).await;
        assert_eq!(outbox.pending().await, []);
    }
    writer.commit().await;
    assert_eq!(ids(&outbox.pending().await), ids_of(&sent));
}

pub async fn places_ascend_in_the_order_of_insertion(outbox: &Fixture) {
    let mut sent = Vec::new();
    for n in 0..5 {
        let messages = [message(&format!("a-{n}")), message(&format!("b-{n}"))];
        outbox.enqueue(&messages).await;
        sent.extend(messages);
    }
    let rows = outbox.pending().await;
    assert_eq!(ids(&rows), ids_of(&sent));
    assert!(rows[0].seq > Seq::START, "places are positive");
    assert!(seqs(&rows).is_sorted_by(|a, b| a < b), "no place is given out twice");
}

pub async fn a_late_commit_is_seen_by_the_look(outbox: &Fixture) {
    if !outbox.harness.concurrent_writers().await {
        // With one writer at a time nothing is ever late, which is what `Ordered` promises.
        assert_eq!(outbox.store.visibility(), Visibility::Ordered);
        return;
    }
    let (early, late) = (message("k"), message("k"));
    let partition = outbox.partition_of("k");
    let mut slow = outbox.harness.begin().await;
    slow.insert(std::slice::from_ref(&late)).await;
    outbox.enqueue(std::slice::from_ref(&early)).await;
    let page = outbox.look(vec![read(partition, Seq::START)], Seq::START, ALL).await;
    assert_eq!(ids(&page.rows), [early.id()], "readers don't wait for writers");
    let cursor = page.rows[0].seq;
    slow.commit().await;
    let page = outbox.look(vec![read(partition, cursor)], Seq::START, ALL).await;
    assert_eq!(page.rows, [], "the cursor alone would lose it");
    let behind: Vec<_> = page.behind.iter().map(|row| row.id).collect();
    assert_eq!(behind, [late.id(), early.id()]);
    assert!(page.behind[0].seq < cursor);
}

pub async fn xmin_waits_for_an_open_writer(outbox: &Fixture) {
    if outbox.store.visibility() != Visibility::Snapshot {
        return only_snapshots_carry_transaction_ids(outbox).await;
    }
    let relay = outbox.relay().await;
    let mut writer = outbox.harness.begin().await;
    writer.insert(&messages("k", 1)).await;
    let settled = relay.deliver(&[]).await.tx.expect("a settlement has an id");
    let leased = relay.renew(LONG).await.tx.expect("a leasing has an id");
    assert!(settled < leased, "ids ascend");
    for _ in 0..3 {
        assert!(xmin(outbox).await < settled, "the writer is older and open");
    }
    writer.commit().await;
    // Transactions of other tests on the same server may still be open.
    let mut waited = Duration::ZERO;
    while xmin(outbox).await < leased {
        assert!(waited < LONG, "nothing older is open any more");
        waited += Duration::from_millis(50);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn only_snapshots_carry_transaction_ids(outbox: &Fixture) {
    let snapshot = outbox.store.visibility() == Visibility::Snapshot;
    let relay = outbox.relay().await;
    assert_eq!(outbox.fetch(Vec::new()).await.xmin.is_some(), snapshot);
    assert_eq!(relay.deliver(&[]).await.tx.is_some(), snapshot);
    assert_eq!(relay.renew(LONG).await.tx.is_some(), snapshot);
}

async fn xmin(outbox: &Fixture) -> TxId {
    outbox.fetch(Vec::new()).await.xmin.expect("a snapshot has an xmin")
}
