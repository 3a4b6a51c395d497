//! Calls that are dropped midway.

use std::future::Future;
use std::pin::pin;
use std::time::Duration;

use diesel_async::{AsyncConnection as _, SimpleAsyncConnection as _};
use outbox_diesel::{Error, OutboxTransaction};
use tokio::sync::oneshot;

use crate::support::{Bed, Kind, for_every_database, message};

for_every_database!(
    a_transaction_dropped_midway_swallows_no_later_one,
    a_panic_swallows_no_later_transaction,
    a_transaction_left_behind_within_swallows_no_later_one,
    a_commit_dropped_midway_is_whole_or_nothing,
);

/// Polls `future` until it has waited `times`, then drops it. Says whether it came to its end.
pub(crate) async fn poll_times(future: impl Future, times: usize) -> bool {
    let mut future = pin!(future);
    for _ in 0..times {
        let once = std::future::poll_fn(|context| {
            std::task::Poll::Ready(future.as_mut().poll(context).is_ready())
        });
        if once.await {
            return true;
        }
        // Time for what the future waits for to arrive, or not.
        tokio::time::sleep(Duration::from_micros(300)).await;
    }
    false
}

/// What a service does on a connection that it keeps: if it is told that a message is stored, it
/// is.
async fn next_transaction_holds<C: Kind>(bed: &Bed<C>, connection: &mut C, key: &str) -> bool {
    let next = message(key);
    let work = async |mut tx: OutboxTransaction<'_, C>| tx.emit(&next);
    match bed.outbox.transaction(connection, work).await {
        Ok(()) => {
            let stored = bed.keys().await.iter().any(|stored| stored == key);
            assert!(stored, "{key} was committed, and is not there");
            true
        }
        Err(Error::Database { context: "beginning a transaction", .. }) => false,
        Err(error) => panic!("another error: {error:?}"),
    }
}

/// FAILURES row 29. Seen to fail without `Unfinished`: the next transaction was a savepoint of the
/// one that was dropped, and what it committed was not there; or diesel-async's own assertion
/// failed.
async fn a_transaction_dropped_midway_swallows_no_later_one<C: Kind>(bed: Bed<C>) {
    let (mut dropped, mut refused) = (0, 0);
    for times in 1..16 {
        let mut connection = bed.connect().await;
        let work = async |mut tx: OutboxTransaction<'_, C>| {
            tx.batch_execute("SELECT 1").await.unwrap();
            tx.emit(message("dropped"))
        };
        let transaction = bed.outbox.transaction(&mut connection, work);
        let ended = poll_times(transaction, times).await;
        dropped += usize::from(!ended);
        let holds = next_transaction_holds(&bed, &mut connection, &format!("next {times}")).await;
        assert!(holds || !ended, "a connection whose transaction has ended is as before");
        refused += usize::from(!holds);
    }
    assert!(dropped > 0 && refused > 0, "{dropped} were dropped midway, {refused} refused");
}

/// Seen to fail without `Unfinished`.
async fn a_panic_swallows_no_later_transaction<C: Kind>(bed: Bed<C>) {
    let (mut connection, outbox) = (bed.connect().await, bed.outbox.clone());
    let panicked = tokio::spawn(async move {
        let work = async |mut tx: OutboxTransaction<'_, C>| {
            tx.emit(message("emitted"))?;
            outbox.enqueue(&mut *tx, &message("enqueued")).await?;
            assert!(!connection_is_kept(), "as a service may");
            Ok::<(), Error>(())
        };
        let transaction = std::panic::AssertUnwindSafe(outbox.transaction(&mut connection, work));
        let caught = futures::FutureExt::catch_unwind(transaction).await;
        assert!(caught.is_err());
        connection
    });
    let mut connection = panicked.await.unwrap();
    assert!(!next_transaction_holds(&bed, &mut connection, "next").await);
    drop(connection);
    assert!(bed.keys().await.is_empty());
}

fn connection_is_kept() -> bool {
    true
}

/// As with a time-out within. Seen to fail when one level was rolled back: the next transaction was
/// a savepoint of the outer one, and what it committed was not there.
async fn a_transaction_left_behind_within_swallows_no_later_one<C: Kind>(bed: Bed<C>) {
    let mut connection = bed.connect().await;
    for fails in [true, false] {
        let ended = bed.outbox.transaction(&mut connection, async |mut tx| {
            tx.emit(message("emitted"))?;
            bed.outbox.enqueue(&mut *tx, message("enqueued")).await?;
            let (begun, begins) = oneshot::channel();
            let inner = tx.transaction::<(), diesel::result::Error, _>(async move |_| {
                begun.send(()).unwrap();
                std::future::pending().await
            });
            tokio::select! {
                done = inner => panic!("it never ends: {done:?}"),
                begins = begins => begins.unwrap(),
            }
            if fails { Err(None) } else { Ok(()) }
        });
        match ended.await.unwrap_err() {
            None => assert!(fails),
            Some(error) => {
                let told = outbox_core::Reason::of(&error).to_string();
                assert!(!fails && told.contains("still open") && !error.is_retryable(), "{told}");
            }
        }
        assert!(next_transaction_holds(&bed, &mut connection, &format!("next {fails}")).await);
    }
    assert_eq!(bed.keys().await, ["next true", "next false"]);
}

async fn a_commit_dropped_midway_is_whole_or_nothing<C: Kind>(bed: Bed<C>) {
    let mut dropped = 0;
    for times in 1..12 {
        let mut connection = bed.connect().await;
        let name = format!("{times}");
        let work = async |mut tx: OutboxTransaction<'_, C>| {
            bed.outbox.enqueue(&mut *tx, &message(&name)).await?;
            tx.emit(message(&name))
        };
        let transaction = bed.outbox.transaction(&mut connection, work);
        dropped += usize::from(!poll_times(transaction, times * 2).await);
    }
    assert!(dropped > 0, "no transaction was dropped midway");
    // What was in flight comes to an end at the server.
    tokio::time::sleep(Duration::from_millis(200)).await;
    let keys = bed.keys().await;
    for times in 1..12 {
        let stored = keys.iter().filter(|key| **key == format!("{times}")).count();
        assert!(stored == 0 || stored == 2, "{stored} of the transaction's two messages");
    }
}
