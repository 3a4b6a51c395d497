//! A message that arrives at least once takes effect once.

use std::time::Duration;

use outbox_seaorm::{Error, Receipt};
use sea_orm::TransactionTrait as _;

use crate::support::{Bed, for_every_database, number, run};

for_every_database!(
    a_redelivered_message_is_a_duplicate,
    messages_that_arrive_at_the_same_time_take_effect_once,
    what_is_old_is_forgotten_in_bounded_steps,
);

async fn accept(bed: &Bed, id: &str) -> Receipt {
    let tx = bed.outbox.begin(bed.db()).await.unwrap();
    let receipt = bed.outbox.inbox().accept(&tx, "billing", id).await.unwrap();
    tx.commit().await.unwrap();
    receipt
}

async fn a_redelivered_message_is_a_duplicate(bed: Bed) {
    let tx = bed.db().begin().await.unwrap();
    let inbox = bed.outbox.inbox();
    assert_eq!(inbox.accept(&tx, "billing", "7").await.unwrap(), Receipt::First);
    tx.rollback().await.unwrap();
    assert_eq!(accept(&bed, "7").await, Receipt::First, "it was rolled back before");
    assert_eq!(accept(&bed, "7").await, Receipt::Duplicate);
    let tx = bed.db().begin().await.unwrap();
    let refused = inbox.accept(&tx, "", "7").await;
    assert!(matches!(refused, Err(Error::Receipt { .. })), "{refused:?}");
    assert_eq!(inbox.accept(&tx, "shipping", "7").await.unwrap(), Receipt::First);
    tx.commit().await.unwrap();
}

/// Seen to fail where every message is taken for a first one.
async fn messages_that_arrive_at_the_same_time_take_effect_once(bed: Bed) {
    let table = bed.table("_effect");
    bed.execute(&format!("CREATE TABLE {table} (n INTEGER NOT NULL)")).await;
    for round in 0..5 {
        let consumers = (0..4).map(async |_| {
            while let Err(error) = take_effect(&bed, &table, round).await {
                assert!(error.is_retryable(), "{error:?}");
            }
        });
        futures::future::join_all(consumers).await;
        let effects = number(bed.db(), &format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(effects, round + 1);
    }
    bed.execute(&format!("DROP TABLE {table}")).await;
}

async fn take_effect(bed: &Bed, table: &str, round: i64) -> Result<(), Error> {
    let tx = bed.outbox.begin(bed.db()).await?;
    let inbox = bed.outbox.inbox();
    if inbox.accept(&tx, "billing", &format!("message {round}")).await? == Receipt::First {
        run(&tx, &format!("INSERT INTO {table} VALUES ({round})")).await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    tx.commit().await
}

async fn what_is_old_is_forgotten_in_bounded_steps(bed: Bed) {
    for id in ["1", "2", "3"] {
        assert_eq!(accept(&bed, id).await, Receipt::First);
    }
    let inbox = bed.outbox.inbox();
    assert_eq!(inbox.purge(bed.db(), Duration::from_hours(1), 10).await.unwrap(), 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    for expected in [2, 1, 0] {
        let forgotten = inbox.purge(bed.db(), Duration::from_millis(10), 2).await.unwrap();
        assert_eq!(forgotten, expected);
    }
    assert_eq!(accept(&bed, "1").await, Receipt::First);
}
