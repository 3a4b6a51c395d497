//! Fetching and rereading.

use std::time::{Duration, SystemTime};

use outbox_core::{
    FetchRequest, LaneRead, Message, Partition, PartitionRead, RereadRequest, Seq, Store as _,
};
use outbox_sqlx::{Outbox, OutboxConfig};

use crate::support::{Bed, Kind, fetch_all, for_every_database, keys, message};

for_every_database!(
    a_message_comes_back_as_it_was,
    pages_are_bounded_in_rows_and_bytes,
    the_look_sees_what_is_behind_the_cursor,
    lanes_are_read_again,
    a_foreign_row_that_is_broken_is_a_defect,
    many_partitions_in_one_fetch,
);

async fn a_message_comes_back_as_it_was<DB: Kind>(bed: Bed<DB>) {
    let created_at = SystemTime::UNIX_EPOCH + Duration::from_micros(1_700_000_000_123_456);
    let full = Message::bytes("orders", vec![0, 255, 0, 10])
        .key("Ключ ' \" \\ % 🔑 \u{1}\n ")
        .message_type("order.placed")
        .content_type("application/x-test")
        .header("b", "2 \"quoted\" \\ ключ")
        .header("a", "")
        .header("b", "1")
        .created_at(created_at)
        .build()
        .unwrap();
    let plain = Message::bytes("orders", vec![]).created_at(created_at).build().unwrap();
    // One at a time and several at once are different statements on PostgreSQL.
    for together in [vec![full.clone()], vec![full.clone(), plain.clone()]] {
        let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
        bed.outbox.enqueue_all(&mut tx, &together).await.unwrap();
        tx.commit().await.unwrap();
    }
    let rows = bed.all().await;
    let same = |message: &Message| rows.iter().filter(|row| *row.message == *message).count();
    assert_eq!((rows.len(), same(&full), same(&plain)), (3, 2, 1), "{rows:?}");
    for row in rows {
        assert_eq!(row.partition, Partition::of_message(&row.message, 4));
        assert_eq!((row.attempts, row.retry_in, row.defect), (0, None, None));
    }
}

fn read(partition: Partition, after: Seq, limit: u32, bytes: u64) -> FetchRequest {
    let reads = vec![PartitionRead { partition, after, limit, bytes, parked: false }];
    FetchRequest { reads, horizon: after, look_limit: 10 }
}

async fn pages_are_bounded_in_rows_and_bytes<DB: Kind>(bed: Bed<DB>) {
    let messages: Vec<_> =
        (0..5).map(|_| Message::bytes("t", [7; 10].to_vec()).key("k").build().unwrap()).collect();
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    bed.outbox.enqueue_all(&mut tx, &messages).await.unwrap();
    tx.commit().await.unwrap();
    let partition = Partition::of(b"k", 4);
    for (limit, bytes, rows) in [
        (10, u64::MAX, 5),
        (3, u64::MAX, 3),
        (10, 25, 3),
        (10, 20, 2),
        (10, 10, 1),
        (10, 1, 1),
        (10, 0, 1),
        (0, 100, 0),
        (0, 0, 0),
    ] {
        let page = bed.store.fetch(&read(partition, Seq::START, limit, bytes)).await.unwrap();
        assert_eq!(page.rows.len(), rows, "{limit} rows, {bytes} bytes");
        assert_eq!(page.generations, [(partition, 0)]);
        let ids: Vec<_> = page.rows.iter().map(|row| row.message.id()).collect();
        let wanted: Vec<_> = messages.iter().take(rows).map(Message::id).collect();
        assert_eq!(ids, wanted, "the first ones, in order");
    }
    let first = bed.all().await[0].seq;
    let page = bed.store.fetch(&read(partition, first, 10, u64::MAX)).await.unwrap();
    assert_eq!(page.rows.len(), 4);
}

async fn the_look_sees_what_is_behind_the_cursor<DB: Kind>(bed: Bed<DB>) {
    let messages = bed.enqueue(&["a", "b", "a", "c", "a"]).await;
    let rows = bed.all().await;
    let last = rows.iter().map(|row| row.seq).max().unwrap();
    let first = rows.iter().map(|row| row.seq).min().unwrap();
    let mut request = fetch_all();
    request.reads.iter_mut().for_each(|read| read.after = last);
    let page = bed.store.fetch(&request).await.unwrap();
    assert!(page.rows.is_empty() && !page.look_truncated, "{page:?}");
    let mut ids: Vec<_> = page.behind.iter().map(|row| (row.seq, row.id)).collect();
    ids.sort_unstable();
    assert_eq!(
        ids.iter().map(|(_, id)| *id).collect::<Vec<_>>(),
        messages.iter().map(Message::id).collect::<Vec<_>>()
    );
    let behind = page.behind.iter().find(|row| row.id == messages[1].id()).unwrap();
    assert_eq!((behind.key.as_deref(), &*behind.topic), (Some("b"), "orders"));

    request.horizon = first;
    let page = bed.store.fetch(&request).await.unwrap();
    assert_eq!(page.behind.len(), 4, "the horizon itself needs no look");
    for (limit, truncated) in [(3, true), (4, false)] {
        request.look_limit = limit;
        let page = bed.store.fetch(&request).await.unwrap();
        assert_eq!((page.look_truncated, page.behind.len() <= limit as usize), (truncated, true));
    }
    request.horizon = last;
    assert!(bed.store.fetch(&request).await.unwrap().behind.is_empty());
    let nothing = FetchRequest { reads: vec![], horizon: Seq::START, look_limit: 0 };
    assert!(bed.store.fetch(&nothing).await.unwrap().vacant);
}

async fn lanes_are_read_again<DB: Kind>(bed: Bed<DB>) {
    bed.enqueue(&["a", "b", "a", "A", "a ", "a", "a"]).await;
    let keyless = Message::bytes("orders", "without a key").build().unwrap();
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    tx.emit(keyless.clone()).unwrap();
    tx.commit().await.unwrap();
    let mut rows = bed.all().await;
    rows.sort_unstable_by_key(|row| row.seq);
    let seq = |index: usize| rows[index].seq;
    let lane = |key: &str, from, to, limit, bytes| LaneRead {
        partition: Partition::of(key.as_bytes(), 4),
        key: Some(key.into()),
        from,
        to,
        limit,
        bytes,
    };
    let reread = async |lanes| bed.store.reread(&RereadRequest { lanes }).await.unwrap();
    let all = reread(vec![lane("a", seq(0), seq(6), 10, u64::MAX)]).await;
    assert_eq!(keys(&all), ["a", "a", "a", "a"], "keys are compared as bytes");
    let some = reread(vec![lane("a", seq(1), seq(5), 10, u64::MAX)]).await;
    assert_eq!(some.iter().map(|row| row.seq).collect::<Vec<_>>(), [seq(2), seq(5)]);
    assert_eq!(reread(vec![lane("a", seq(0), seq(6), 2, u64::MAX)]).await.len(), 2);
    assert_eq!(reread(vec![lane("a", seq(0), seq(6), 9, 15)]).await.len(), 2);
    assert_eq!(reread(vec![lane("a", seq(0), seq(6), 9, 0)]).await.len(), 1);
    let several = reread(vec![
        lane("A", seq(0), seq(6), 10, u64::MAX),
        lane("b", seq(0), seq(6), 10, u64::MAX),
        LaneRead {
            partition: rows[7].partition,
            key: None,
            from: seq(7),
            to: seq(7),
            limit: 1,
            bytes: 1,
        },
        // That row has a key, so it is no lane without one.
        LaneRead {
            partition: rows[0].partition,
            key: None,
            from: seq(0),
            to: seq(0),
            limit: 1,
            bytes: 1,
        },
    ]);
    let mut several = keys(&several.await);
    several.sort();
    assert_eq!(several, ["", "A", "b"]);
    assert!(reread(vec![]).await.is_empty());
}

async fn a_foreign_row_that_is_broken_is_a_defect<DB: Kind>(bed: Bed<DB>) {
    let messages = bed.enqueue(&["a", "b", "c"]).await;
    let outbox = bed.table("");
    bed.execute(format!(
        "UPDATE {outbox} SET headers = '{{\"not\": \"pairs\"}}' WHERE message_key = 'a'"
    ))
    .await;
    let broken_key = match DB::NAME {
        "SQLite" => Some("CAST(x'ff61' AS TEXT)"),
        "MySQL" => Some("x'ff61'"),
        _ => None,
    };
    if let Some(key) = broken_key {
        bed.execute(format!("UPDATE {outbox} SET message_key = {key} WHERE message_key = 'b'"))
            .await;
    }
    let rows = bed.all().await;
    let row =
        |index: usize| rows.iter().find(|row| row.message.id() == messages[index].id()).unwrap();
    assert!(row(0).defect.is_some() && row(0).message.headers().is_empty());
    assert_eq!(row(1).defect.is_some(), broken_key.is_some());
    assert!(row(2).defect.is_none());
    if broken_key.is_some() {
        assert_eq!(row(1).message.key(), None);
        let (partition, from) = (row(1).partition, row(1).seq);
        let lane = LaneRead { partition, key: None, from, to: from, limit: 1, bytes: 1 };
        let again = bed.store.reread(&RereadRequest { lanes: vec![lane] }).await.unwrap();
        assert_eq!(again.len(), 1, "a row whose key can't be read can be read again");
    }
}

async fn many_partitions_in_one_fetch<DB: Kind>(bed: Bed<DB>) {
    let wide = outbox_sqlx::Names {
        prefix: outbox_sqlx::Identifier::new("wide").unwrap(),
        ..bed.place.names.clone()
    };
    let config = || OutboxConfig { partitions: 1024, ..OutboxConfig::named(wide.clone()) };
    Outbox::<DB>::migrate_with(bed.pool(), &config()).await.unwrap();
    let outbox = Outbox::<DB>::open_with(bed.pool(), config()).await.unwrap();
    let messages: Vec<_> = (0..3000).map(|n| message(&format!("key {n}"))).collect();
    let mut tx = outbox.begin(bed.pool()).await.unwrap();
    outbox.enqueue_all(&mut tx, &messages).await.unwrap();
    tx.commit().await.unwrap();
    let store = outbox.store().await.unwrap();
    let read = |number| PartitionRead {
        partition: Partition(number),
        after: Seq::START,
        limit: 100,
        bytes: 1 << 20,
        parked: false,
    };
    let mut request =
        FetchRequest { reads: (0..1024).map(read).collect(), horizon: Seq(0), look_limit: 5000 };
    let page = store.fetch(&request).await.unwrap();
    assert_eq!((page.rows.len(), page.generations.len()), (3000, 1024));
    request.reads.iter_mut().for_each(|read| read.after = Seq(10_000));
    let page = store.fetch(&request).await.unwrap();
    assert_eq!((page.rows.len(), page.behind.len()), (0, 3000));
}
