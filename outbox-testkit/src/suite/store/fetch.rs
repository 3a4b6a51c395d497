//! Reading ahead of the cursors.

use outbox_core::{LeaseRequest, Partition, PartitionRead, Seq};

use super::Fixture;
use super::fixture::{LONG, ids, ids_of, message, messages, read, sized};

pub async fn rows_come_ascending_after_the_cursor(outbox: &Fixture) {
    let sent = messages("k", 5);
    let rows = outbox.rows_of(&sent).await;
    let partition = outbox.partition_of("k");
    let page = outbox.fetch(vec![read(partition, Seq::START)]).await;
    assert_eq!(ids(&page.rows), ids_of(&sent));
    assert!(page.rows.is_sorted_by(|a, b| a.seq < b.seq));
    let page = outbox.fetch(vec![read(partition, rows[1].seq)]).await;
    assert_eq!(ids(&page.rows), ids_of(&sent[2..]));
    let page = outbox.fetch(vec![read(partition, rows[4].seq)]).await;
    assert_eq!(page.rows, []);
}

pub async fn a_limit_bounds_the_rows_of_each_partition(outbox: &Fixture) {
    let (first, second) = (outbox.key_in(Partition(0)), outbox.key_in(Partition(1)));
    let (firsts, seconds) = (messages(&first, 4), messages(&second, 4));
    outbox.enqueue(&[firsts.clone(), seconds.clone()].concat()).await;
    let limited =
        |partition, limit| PartitionRead { limit, ..read(Partition(partition), Seq::START) };
    let page = outbox.fetch(vec![limited(0, 3), limited(1, 1)]).await;
    let of = |partition| page.rows.iter().filter(move |row| row.partition == Partition(partition));
    assert!(of(0).map(|row| row.message.id()).eq(ids_of(&firsts[..3])));
    assert!(of(1).map(|row| row.message.id()).eq(ids_of(&seconds[..1])));
    let page = outbox.fetch(vec![limited(0, 0), limited(1, 2)]).await;
    assert_eq!(ids(&page.rows), ids_of(&seconds[..2]));
}

pub async fn bytes_bound_the_rows_but_a_first_comes(outbox: &Fixture) {
    let sent: Vec<_> = (0..5).map(|_| sized("k", 100)).collect();
    outbox.enqueue(&sent).await;
    let partition = outbox.partition_of("k");
    for (bytes, expected) in [(0, 1), (1, 1), (100, 1), (101, 2), (250, 3), (500, 5), (9_999, 5)] {
        let page = outbox.fetch(vec![PartitionRead { bytes, ..read(partition, Seq::START) }]).await;
        assert_eq!(ids(&page.rows), ids_of(&sent[..expected]), "{bytes} bytes");
    }
}

pub async fn only_partitions_asked_for_are_read(outbox: &Fixture) {
    let (first, second) = (outbox.key_in(Partition(0)), outbox.key_in(Partition(1)));
    let sent = [message(&first), message(&second)];
    outbox.enqueue(&sent).await;
    let page = outbox.fetch(vec![read(Partition(1), Seq::START)]).await;
    assert_eq!(ids(&page.rows), [sent[1].id()]);
    let page = outbox.fetch(vec![read(Partition(2), Seq::START)]).await;
    assert_eq!(page.rows, []);
}

pub async fn every_partition_asked_for_has_a_generation(outbox: &Fixture) {
    outbox.enqueue(&[message(&outbox.key_in(Partition(1)))]).await;
    let asked = [Partition(0), Partition(1), Partition(3)];
    let reads = || asked.map(|partition| read(partition, Seq::START)).to_vec();
    let mut generations = outbox.fetch(reads()).await.generations;
    generations.sort_unstable();
    assert!(generations.iter().map(|(partition, _)| *partition).eq(asked));
    let mut again = outbox.fetch(reads()).await.generations;
    again.sort_unstable();
    assert_eq!(again, generations, "nothing was put back in front");
}

pub async fn reading_the_same_again_gives_the_same(outbox: &Fixture) {
    outbox.enqueue(&messages("k", 3)).await;
    let before = outbox.pending().await;
    assert_eq!(before.len(), 3);
    assert_eq!(outbox.pending().await, before, "reading writes nothing");
}

pub async fn an_empty_request_tells_whether_partitions_are_vacant(outbox: &Fixture) {
    outbox.enqueue(&messages("k", 1)).await;
    assert!(outbox.fetch(Vec::new()).await.vacant, "nobody owns any");
    let relay = outbox.relay().await;
    let take = outbox.partitions().collect();
    let report = relay.lease(LeaseRequest { take, ..relay.request(LONG) }).await;
    let page = outbox.fetch(Vec::new()).await;
    assert!(!page.vacant, "all are owned");
    assert_eq!((page.rows, page.generations), (Vec::new(), Vec::new()));
    relay.release(Partition(2), report.leases[2].epoch).await;
    assert!(outbox.fetch(Vec::new()).await.vacant, "one was given up");
}
