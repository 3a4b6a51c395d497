//! Settling.

use std::time::Duration;

use outbox_core::{Admin as _, DeadFilter, Fate, RowRef, SettleRequest, Store as _, VerdictAnswer};
use outbox_sqlx::{Outbox, OutboxConfig};
use sqlx::{MySql, Pool};

use VerdictAnswer::{Applied, EpochLost, Gone};

use crate::support::{
    Bed, Kind, epoch, for_every_database, mariadb, message, relay, row_ref, verdict,
};

for_every_database!(
    delivered_rows_go_by_their_whole_name,
    a_retry_is_written_absolutely,
    a_dead_message_moves,
    verdicts_tell_lost_epochs_from_rows_that_have_gone,
    a_whole_window_is_settled_at_once,
);

async fn delivered_rows_go_by_their_whole_name<DB: Kind>(bed: Bed<DB>) {
    bed.enqueue(&["a", "b"]).await;
    let rows = bed.all().await;
    // After a fail-over the number may belong to another message.
    let mut other = row_ref(&rows[0]);
    other.id = uuid::Uuid::now_v7();
    let delivered = vec![other, row_ref(&rows[1]), row_ref(&rows[1])];
    let request = SettleRequest { relay: relay(), delivered, verdicts: vec![] };
    let first = bed.store.settle(&request).await.unwrap();
    let again = bed.store.settle(&request).await.unwrap();
    assert_eq!(bed.all().await, rows[..1]);
    let is_postgres = DB::NAME == "PostgreSQL";
    assert_eq!((first.tx.is_some(), again.tx.is_some()), (is_postgres, is_postgres));
    assert!(again.tx >= first.tx);
}

/// FAILURES row 17. Seen to fail with `attempts = attempts + …` in either statement.
async fn a_retry_is_written_absolutely<DB: Kind>(bed: Bed<DB>) {
    bed.enqueue(&["a"]).await;
    let relay = relay();
    let report = bed.lease(relay, &[0, 1, 2, 3]).await;
    let row = bed.all().await.remove(0);
    let retry = verdict(&row, epoch(&report, &row), 3, Fate::Retry(Duration::from_mins(1)));
    // The relay that lost the reply asks again: the attempt must not count twice.
    for _ in 0..2 {
        let report = bed.decide(relay, vec![retry.clone()]).await;
        assert_eq!(report.verdicts, [Applied]);
    }
    let after = bed.all().await.remove(0);
    assert_eq!((after.attempts, after.seq, &after.message), (3, row.seq, &row.message));
    let left = after.retry_in.unwrap();
    assert!(left > Duration::from_secs(50) && left <= Duration::from_mins(1), "{left:?}");
    let soon = verdict(&row, retry.epoch, 4, Fate::Retry(Duration::ZERO));
    bed.decide(relay, vec![soon]).await;
    assert_eq!(bed.all().await[0].retry_in, Some(Duration::ZERO));
}

async fn a_dead_message_moves<DB: Kind>(bed: Bed<DB>) {
    let messages = bed.enqueue(&["a"]).await;
    let relay = relay();
    let report = bed.lease(relay, &[0, 1, 2, 3]).await;
    let row = bed.all().await.remove(0);
    let dead = verdict(&row, epoch(&report, &row), 5, Fate::Dead);
    let answers = bed.decide(relay, vec![dead.clone()]).await.verdicts;
    assert_eq!(answers, [Applied]);
    let answers = bed.decide(relay, vec![dead]).await.verdicts;
    assert_eq!(answers, [Gone], "it is there once");
    assert!(bed.all().await.is_empty());
    let letters = bed.store.dead_letters(&DeadFilter::default(), 10).await.unwrap();
    assert_eq!(letters.len(), 1);
    assert_eq!(letters[0].message.id(), messages[0].id());
    assert_eq!(letters[0].message.payload(), messages[0].payload());
    assert_eq!((letters[0].attempts, letters[0].error.as_str()), (5, "it failed"));
    assert_eq!(letters[0].partition, row.partition);
    let ago = letters[0].died_at.elapsed().unwrap_or_default();
    assert!(ago < Duration::from_mins(1), "{ago:?}");
}

async fn verdicts_tell_lost_epochs_from_rows_that_have_gone<DB: Kind>(bed: Bed<DB>) {
    bed.enqueue(&["a", "A"]).await;
    let (owner, stranger) = (relay(), relay());
    let report = bed.lease(owner, &[0, 1, 2, 3]).await;
    let rows = bed.all().await;
    let retry = Fate::Retry(Duration::from_secs(1));
    let mut stale = verdict(&rows[0], epoch(&report, &rows[0]), 1, retry);
    stale.epoch.0 -= 1;
    let valid = verdict(&rows[0], epoch(&report, &rows[0]), 2, retry);
    let mut gone = verdict(&rows[1], epoch(&report, &rows[1]), 1, Fate::Dead);
    gone.row.id = uuid::Uuid::now_v7();
    let mut both = gone.clone();
    both.epoch.0 += 1;
    let verdicts = vec![stale, gone, valid.clone(), both];
    let answers = bed.decide(owner, verdicts.clone()).await.verdicts;
    assert_eq!(answers, [EpochLost, Gone, Applied, EpochLost]);
    assert_eq!(bed.decide(stranger, verdicts).await.verdicts, [EpochLost; 4]);
    let attempts: Vec<_> = bed.all().await.iter().map(|row| row.attempts).collect();
    assert_eq!((attempts, bed.count("_dead").await), (vec![2, 0], 0));

    // Who has let its lease run out still owns it, as long as nobody has taken it.
    let lease = bed.table("_lease");
    bed.execute(format!("UPDATE {lease} SET ttl = 0")).await;
    assert_eq!(bed.decide(owner, vec![valid.clone()]).await.verdicts, [Applied]);
    bed.lease(stranger, &[0, 1, 2, 3]).await;
    assert_eq!(bed.decide(owner, vec![valid]).await.verdicts, [EpochLost]);
}

async fn a_whole_window_is_settled_at_once<DB: Kind>(bed: Bed<DB>) {
    let messages: Vec<_> = (0..2500).map(|n| message(&format!("{n}"))).collect();
    let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
    bed.outbox.enqueue_all(&mut tx, &messages).await.unwrap();
    tx.commit().await.unwrap();
    let relay = relay();
    let report = bed.lease(relay, &[0, 1, 2, 3]).await;
    let rows = bed.all().await;
    let delivered: Vec<RowRef> = rows.iter().take(1500).map(row_ref).collect();
    let fate = |index| if index % 2 == 0 { Fate::Dead } else { Fate::Retry(Duration::ZERO) };
    let verdicts: Vec<_> = (1500..2100)
        .map(|index| verdict(&rows[index], epoch(&report, &rows[index]), 1, fate(index)))
        .collect();
    let request = SettleRequest { relay, delivered, verdicts };
    let report = bed.store.settle(&request).await.unwrap();
    assert_eq!(report.verdicts, [Applied; 600]);
    assert_eq!((bed.all().await.len(), bed.count("_dead").await), (700, 300));
}

/// Seen to fail (1046) with an alias for the table from which is deleted.
#[tokio::test]
async fn without_a_database_in_use_delivered_rows_are_removed() {
    let bed = mariadb().await;
    let (server, _) = bed.place.url.rsplit_once('/').unwrap();
    let pool = Pool::<MySql>::connect(server).await.unwrap();
    let config = OutboxConfig::named(bed.place.names.clone());
    let store = Outbox::open_with(&pool, config).await.unwrap().store().await.unwrap();
    bed.enqueue(&["a", "b"]).await;
    let delivered = bed.all().await.iter().map(row_ref).collect();
    let request = SettleRequest { relay: relay(), delivered, verdicts: vec![] };
    store.settle(&request).await.unwrap();
    assert_eq!(bed.count("").await, 0);
}
