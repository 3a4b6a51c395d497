//! Looking behind the cursors.

use outbox_core::{Fate, Message, Partition, PartitionRead, Seq, VerdictAnswer};

use super::Fixture;
use super::fixture::{ALL, LONG, message, messages, read, verdict};

pub async fn rows_behind_the_cursor_are_shown_exactly(outbox: &Fixture) {
    let partition = outbox.partition_of("k");
    let without_key = || loop {
        let message = Message::bytes("invoices", "").build().unwrap();
        if Partition::of_message(&message, outbox.store.partitions()) == partition {
            return message;
        }
    };
    let rows = outbox.rows_of(&[message("k"), without_key(), message("k"), message("k")]).await;
    let page = outbox.look(vec![read(partition, rows[2].seq)], Seq::START, ALL).await;
    assert_eq!(page.behind.len(), 3);
    assert!(!page.look_truncated);
    for (row, behind) in rows.iter().zip(&page.behind) {
        assert_eq!((behind.partition, behind.seq), (row.partition, row.seq));
        assert_eq!(behind.id, row.message.id());
        assert_eq!(&*behind.topic, row.message.topic());
        assert_eq!(behind.key.as_deref(), row.message.key());
    }
    assert_eq!(page.rows, rows[3..], "in the same snapshot");
}

pub async fn rows_up_to_the_horizon_are_left_out(outbox: &Fixture) {
    let rows = outbox.rows_of(&messages("k", 5)).await;
    let partition = outbox.partition_of("k");
    let behind = async |after: Seq, horizon: Seq| {
        let page = outbox.look(vec![read(partition, after)], horizon, ALL).await;
        page.behind.iter().map(|row| row.seq).collect::<Vec<_>>()
    };
    let seq = |at: usize| rows[at].seq;
    assert_eq!(behind(seq(3), seq(1)).await, [seq(2), seq(3)]);
    assert_eq!(behind(seq(3), seq(3)).await, []);
    assert_eq!(behind(seq(2), seq(4)).await, [], "a horizon ahead of the cursor");
}

pub async fn a_limit_counts_over_all_partitions(outbox: &Fixture) {
    let (first, second) = (outbox.key_in(Partition(0)), outbox.key_in(Partition(1)));
    let rows = outbox.rows_of(&[messages(&first, 3), messages(&second, 3)].concat()).await;
    let reads = || {
        vec![
            PartitionRead { limit: 0, ..read(Partition(0), rows[2].seq) },
            PartitionRead { limit: 0, ..read(Partition(1), rows[5].seq) },
        ]
    };
    let enough = outbox.look(reads(), Seq::START, 6).await;
    assert_eq!((enough.behind.len(), enough.look_truncated), (6, false));
    let short = outbox.look(reads(), Seq::START, 5).await;
    assert!(short.look_truncated);
    assert!(short.behind.len() <= 5);
}

pub async fn only_more_than_the_limit_is_truncated(outbox: &Fixture) {
    let rows = outbox.rows_of(&messages("k", 3)).await;
    let partition = outbox.partition_of("k");
    for (limit, truncated) in [(0, true), (2, true), (3, false), (4, false)] {
        let page = outbox.look(vec![read(partition, rows[2].seq)], Seq::START, limit).await;
        assert_eq!(page.look_truncated, truncated, "at most {limit} of 3");
    }
    let nothing = outbox.look(vec![read(partition, rows[2].seq)], rows[2].seq, 0).await;
    assert!(!nothing.look_truncated, "none of none");
}

pub async fn rows_waiting_for_a_retry_are_shown(outbox: &Fixture) {
    let rows = outbox.rows_of(&messages("k", 2)).await;
    let relay = outbox.relay().await;
    let epoch = relay.take(rows[0].partition, LONG).await;
    let retry = verdict(&rows[0], epoch, 1, Fate::Retry(LONG), "later");
    assert_eq!(relay.decide(retry).await, VerdictAnswer::Applied);
    let page = outbox.look(vec![read(rows[0].partition, rows[1].seq)], Seq::START, ALL).await;
    assert_eq!(page.behind.len(), 2);
}
