//! A message that arrives at least once takes effect once.

use std::time::Duration;

use diesel_async::SimpleAsyncConnection as _;
use outbox_diesel::{Error, OutboxTransaction, Receipt};

use crate::support::{Bed, Kind, for_every_database};

for_every_database!(
    a_redelivered_message_is_a_duplicate,
    synchronous_consumers_have_the_same_inbox,
    messages_that_arrive_at_the_same_time_take_effect_once,
    what_is_old_is_forgotten_in_bounded_steps,
);

async fn accept<C: Kind>(bed: &Bed<C>, id: &str) -> Receipt {
    let mut connection = bed.connect().await;
    let work = async |mut tx: OutboxTransaction<'_, C>| {
        bed.outbox.inbox().accept(&mut *tx, "billing", id).await
    };
    bed.outbox.transaction(&mut connection, work).await.unwrap()
}

async fn a_redelivered_message_is_a_duplicate<C: Kind>(bed: Bed<C>) {
    let (mut connection, inbox) = (bed.connect().await, bed.outbox.inbox());
    let outside = inbox.accept(&mut connection, "billing", "7").await;
    assert!(matches!(outside, Err(Error::NoTransaction)), "{outside:?}");
    let work = async |mut tx: OutboxTransaction<'_, C>| {
        let refused = inbox.accept(&mut *tx, "", "7").await;
        assert!(matches!(refused, Err(Error::Receipt { .. })), "{refused:?}");
        assert_eq!(inbox.accept(&mut *tx, "billing", "7").await?, Receipt::First);
        Err::<(), Error>(Error::NoTransaction)
    };
    bed.outbox.transaction(&mut connection, work).await.unwrap_err();
    assert_eq!(accept(&bed, "7").await, Receipt::First, "it was rolled back before");
    assert_eq!(accept(&bed, "7").await, Receipt::Duplicate);
}

async fn synchronous_consumers_have_the_same_inbox<C: Kind>(bed: Bed<C>) {
    assert_eq!(accept(&bed, "7").await, Receipt::First);
    let (mut connection, outbox) = (bed.block(), bed.sync_outbox());
    let inbox = outbox.inbox();
    let outside = inbox.accept(&mut connection, "billing", "7");
    assert!(matches!(outside, Err(Error::NoTransaction)), "{outside:?}");
    let receipts = outbox.transaction(&mut connection, |mut tx| {
        let first = inbox.accept(&mut *tx, "billing", "7")?;
        Ok::<_, Error>([first, inbox.accept(&mut *tx, "billing", "8")?])
    });
    assert_eq!(receipts.unwrap(), [Receipt::Duplicate, Receipt::First]);
    assert_eq!(accept(&bed, "8").await, Receipt::Duplicate);
    crate::support::sleep(Duration::from_millis(20));
    assert_eq!(inbox.purge(&mut connection, Duration::from_millis(10), 10).unwrap(), 2);
}

/// Seen to fail where every message is taken for a first one.
async fn messages_that_arrive_at_the_same_time_take_effect_once<C: Kind>(bed: Bed<C>) {
    let table = bed.named("effect");
    bed.execute(&format!("CREATE TABLE {table} (n INTEGER NOT NULL)")).await;
    for round in 0..5 {
        let consumers = (0..4).map(async |_| {
            let mut connection = bed.connect().await;
            while let Err(error) = take_effect(&bed, &mut connection, &table, round).await {
                assert!(error.is_retryable(), "{error:?}");
            }
        });
        futures::future::join_all(consumers).await;
        assert_eq!(bed.count(&table).await, round + 1);
    }
    bed.execute(&format!("DROP TABLE {table}")).await;
}

async fn take_effect<C: Kind>(
    bed: &Bed<C>,
    connection: &mut C,
    table: &str,
    round: i64,
) -> Result<(), Error> {
    let work = async |mut tx: OutboxTransaction<'_, C>| {
        let (inbox, id) = (bed.outbox.inbox(), format!("message {round}"));
        if inbox.accept(&mut *tx, "billing", &id).await? == Receipt::First {
            tx.batch_execute(&format!("INSERT INTO {table} VALUES ({round})")).await.unwrap();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, Error>(())
    };
    bed.outbox.transaction(connection, work).await
}

async fn what_is_old_is_forgotten_in_bounded_steps<C: Kind>(bed: Bed<C>) {
    for id in ["1", "2", "3"] {
        assert_eq!(accept(&bed, id).await, Receipt::First);
    }
    let (mut connection, inbox) = (bed.connect().await, bed.outbox.inbox());
    let none = inbox.purge(&mut connection, Duration::from_hours(1), 10).await.unwrap();
    assert_eq!(none, 0);
    tokio::time::sleep(Duration::from_millis(20)).await;
    for expected in [2, 1, 0] {
        let age = Duration::from_millis(10);
        assert_eq!(inbox.purge(&mut connection, age, 2).await.unwrap(), expected);
    }
    assert_eq!(accept(&bed, "1").await, Receipt::First);
}
