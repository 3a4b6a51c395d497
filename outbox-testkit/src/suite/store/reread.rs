//! Reading single lanes again.

use std::sync::Arc;
use std::time::Duration;

use outbox_core::{Fate, LaneRead, Message, Partition, RereadRequest, Seq, StoredRow};

use super::Fixture;
use super::fixture::{ALL, LONG, ids, ids_of, message, messages, sized, verdict};

pub async fn a_lane_is_read_between_its_bounds(outbox: &Fixture) {
    let partition = Partition(1);
    let keys: Vec<_> = outbox.keys_in(partition).take(2).collect();
    let mixed: Vec<_> = (0..10).map(|n| message(&keys[n % 2])).collect();
    let rows = outbox.rows_of(&mixed).await;
    let expected: Vec<_> = [2, 4, 6].map(|at| rows[at].clone()).to_vec();
    let read = lane(partition, &keys[0], rows[1].seq, rows[7].seq);
    assert_eq!(reread(outbox, vec![read]).await, expected, "bounds between the lane's rows");
    let read = lane(partition, &keys[0], rows[2].seq, rows[6].seq);
    assert_eq!(reread(outbox, vec![read]).await, expected, "bounds at the lane's rows");
    let elsewhere = lane(Partition(2), &keys[0], Seq::START, rows[9].seq);
    assert_eq!(reread(outbox, vec![elsewhere]).await, [], "in another partition");
}

pub async fn a_lane_without_a_key_is_one_row(outbox: &Fixture) {
    let without_key = |_| Message::bytes("orders", "").build().unwrap();
    let sent: Vec<_> = (0..3).map(without_key).collect();
    let rows = outbox.rows_of(&sent).await;
    let at = |row: &StoredRow| LaneRead { key: None, ..lane(row.partition, "", row.seq, row.seq) };
    assert_eq!(reread(outbox, vec![at(&rows[1])]).await, rows[1..2]);
    let further = LaneRead { to: Seq(i64::MAX - 1), ..at(&rows[0]) };
    assert_eq!(reread(outbox, vec![further]).await, rows[..1], "whatever comes after it");
    let keyed = outbox.rows_of(&[message("k")]).await;
    assert_eq!(reread(outbox, vec![at(&keyed[0])]).await, [], "a row with a key is none");
}

pub async fn limits_and_bytes_bound_each_lane(outbox: &Fixture) {
    let keys: Vec<_> = outbox.keys_in(Partition(0)).take(2).collect();
    let sent: Vec<_> = (0..8).map(|n| sized(&keys[n % 2], 100)).collect();
    let rows = outbox.rows_of(&sent).await;
    let whole = |key| lane(Partition(0), key, Seq::START, rows[7].seq);
    for (limit, bytes, expected) in
        [(2, u64::MAX, 2), (ALL, 150, 2), (ALL, 0, 1), (1, 9_999, 1), (ALL, 400, 4)]
    {
        let bounded = |key| LaneRead { limit, bytes, ..whole(key) };
        let read = reread(outbox, vec![bounded(&keys[0]), bounded(&keys[1])]).await;
        for (n, key) in keys.iter().enumerate() {
            let mine: Vec<_> =
                read.iter().filter(|row| row.message.key() == Some(key)).cloned().collect();
            let all: Vec<_> = sent.iter().skip(n).step_by(2).cloned().collect();
            assert_eq!(ids(&mine), ids_of(&all[..expected]), "{limit} rows, {bytes} bytes");
        }
    }
}

pub async fn several_lanes_are_read_in_one_call(outbox: &Fixture) {
    let keys = [Partition(0), Partition(1), Partition(3)].map(|at| outbox.key_in(at));
    let mut sent: Vec<_> = keys.iter().flat_map(|key| messages(key, 2)).collect();
    sent.push(Message::bytes("orders", "").build().unwrap());
    let rows = outbox.rows_of(&sent).await;
    let lanes: Vec<_> = [0, 4, 6]
        .map(|at: usize| {
            let StoredRow { partition, seq, message, .. } = &rows[at];
            let to = rows.get(at + 1).map_or(*seq, |row| row.seq);
            LaneRead { key: message.key().map(Arc::from), ..lane(*partition, "", *seq, to) }
        })
        .to_vec();
    let mut read = reread(outbox, lanes).await;
    read.sort_by_key(|row| row.seq);
    let expected: Vec<_> = [0, 1, 4, 5, 6].map(|at: usize| rows[at].clone()).to_vec();
    assert_eq!(read, expected);
    assert_eq!(reread(outbox, Vec::new()).await, []);
}

/// Collations make many of these equal: case, accents, width, trailing blanks, composition.
pub async fn keys_compare_as_bytes(outbox: &Fixture) {
    let pairs = [
        ("a", "A"),
        ("a", "ä"),
        ("a", "a "),
        ("ä", "a\u{308}"),
        ("ss", "ß"),
        ("a", "\u{ff41}"),
        ("x", "x\u{200b}"),
        ("x%", "xy"),
    ];
    for (pair, (one, other)) in pairs.into_iter().enumerate() {
        // Only in one partition can they be confused.
        let (one, other) = (0..1_000_000)
            .map(|n| (format!("{pair}-{n}{one}"), format!("{pair}-{n}{other}")))
            .find(|(one, other)| outbox.partition_of(one) == outbox.partition_of(other))
            .expect("some two hashes meet");
        let sent = [message(&one), message(&other), message(&one)];
        outbox.enqueue(&sent).await;
        let partition = outbox.partition_of(&one);
        let whole = |key| lane(partition, key, Seq::START, Seq(i64::MAX - 1));
        let ones = reread(outbox, vec![whole(&one)]).await;
        assert_eq!(ids(&ones), [sent[0].id(), sent[2].id()], "{one:?} is not {other:?}");
        let others = reread(outbox, vec![whole(&other)]).await;
        assert_eq!(ids(&others), [sent[1].id()], "{other:?} is not {one:?}");
    }
}

pub async fn attempts_and_delays_come_along(outbox: &Fixture) {
    let rows = outbox.rows_of(&[message("k")]).await;
    let relay = outbox.relay().await;
    let epoch = relay.take(rows[0].partition, LONG).await;
    relay.decide(verdict(&rows[0], epoch, 2, Fate::Retry(LONG), "later")).await;
    let read = lane(rows[0].partition, "k", rows[0].seq, rows[0].seq);
    let read = reread(outbox, vec![read]).await;
    assert_eq!(read[0].attempts, 2);
    let retry_in = read[0].retry_in.expect("it waits");
    assert!(retry_in <= LONG && retry_in + Duration::from_secs(30) > LONG, "{retry_in:?}");
}

fn lane(partition: Partition, key: &str, from: Seq, to: Seq) -> LaneRead {
    LaneRead { partition, key: Some(key.into()), from, to, limit: ALL, bytes: u64::MAX }
}

async fn reread(outbox: &Fixture, lanes: Vec<LaneRead>) -> Vec<StoredRow> {
    outbox.store.reread(&RereadRequest { lanes }).await.unwrap()
}
