//! Writers and relays at once.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use diesel::connection::SimpleConnection as _;
use diesel_async::SimpleAsyncConnection as _;
use diesel_async::{AsyncConnection as _, AsyncPgConnection};
use outbox_core::{SettleRequest, Store as _};
use outbox_diesel::{DieselDriver, OutboxTransaction};
use tokio::task::JoinSet;

use crate::support::{
    Bed, Kind, fetch_all, for_every_database, lease_request, message, relay, row_ref,
};

for_every_database!(writers_and_relays_get_along);

const WRITERS: usize = 4;
const EACH: usize = 30;

async fn writers_and_relays_get_along<C: Kind>(bed: Bed<C>) {
    let driver = bed.driver();
    run(Arc::new(bed), driver, "SELECT 1").await;
}

/// FAILURES row 33. Seen to fail with 40001 taken out of `Backend::code`: even fetching fails at
/// this level.
#[tokio::test(flavor = "multi_thread")]
async fn writers_and_relays_get_along_at_serializable() {
    const LEVEL: &str = "SET default_transaction_isolation = 'serializable'";
    let bed = crate::support::postgres().await;
    let url = bed.url.clone();
    let driver = DieselDriver::new(move || {
        let url = url.clone();
        async move {
            let mut connection = AsyncPgConnection::establish(&url).await?;
            let set = connection.batch_execute(LEVEL).await;
            set.map_err(diesel::ConnectionError::CouldntSetupConfiguration)?;
            Ok(connection)
        }
    });
    run(Arc::new(bed), driver, LEVEL).await;
}

/// Half of the writers block a thread each.
async fn run<C: Kind>(bed: Arc<Bed<C>>, driver: DieselDriver<C>, setup: &'static str) {
    let mut tasks = JoinSet::new();
    for writer in 0..WRITERS {
        let bed = Arc::clone(&bed);
        let messages = move |n: usize| [message(&format!("{writer}-{n}")), message("shared")];
        if writer % 2 == 0 {
            tasks.spawn(async move {
                let mut connection = bed.connect().await;
                connection.batch_execute(setup).await.unwrap();
                for n in 0..EACH {
                    let messages = messages(n);
                    let work = async |mut tx: OutboxTransaction<'_, C>| {
                        messages.iter().try_for_each(|message| tx.emit(message))
                    };
                    while let Err(error) = bed.outbox.transaction(&mut connection, work).await {
                        assert!(error.is_retryable(), "{error:?}");
                    }
                }
            });
        } else {
            tasks.spawn_blocking(move || {
                let (mut connection, outbox) = (bed.block(), bed.sync_outbox());
                connection.batch_execute(setup).unwrap();
                for n in 0..EACH {
                    let messages = messages(n);
                    while let Err(error) = outbox.transaction(&mut connection, |mut tx| {
                        messages.iter().try_for_each(|message| tx.emit(message))
                    }) {
                        assert!(error.is_retryable(), "{error:?}");
                    }
                }
            });
        }
    }
    // All relays deliver everything, as after a take-over that one of them has not noticed.
    let delivered = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let (store, delivered) = (bed.outbox.store(driver.clone()).await, Arc::clone(&delivered));
        tasks.spawn(async move {
            let (id, store) = (relay(), store.unwrap());
            while delivered.load(Ordering::Relaxed) < WRITERS * EACH * 2 {
                store.lease(&lease_request(id, &[0, 1, 2, 3])).await.unwrap();
                let rows = store.fetch(&fetch_all()).await.unwrap().rows;
                let delivers = rows.iter().map(row_ref).collect();
                let request = SettleRequest { relay: id, delivered: delivers, verdicts: vec![] };
                store.settle(&request).await.unwrap();
                delivered.fetch_add(rows.len(), Ordering::Relaxed);
            }
        });
    }
    tokio::time::timeout(Duration::from_mins(2), tasks.join_all()).await.expect("no standstill");
    // The relays share a count of what they have seen, so some may be left; nothing is lost.
    let left = bed.all().await;
    bed.deliver(&left).await;
    assert_eq!(bed.count(&bed.table("")).await, 0);
}

const LEVEL: &str = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE";

/// As the README has it.
#[tokio::test(flavor = "multi_thread")]
async fn the_first_statement_sets_the_isolation_level_on_postgres() {
    let bed = crate::support::postgres().await;
    let check =
        "DO $$BEGIN ASSERT current_setting('transaction_isolation') = 'serializable'; END$$";
    let mut connection = bed.connect().await;
    let done = bed.outbox.transaction(&mut connection, async |mut tx| {
        tx.batch_execute(LEVEL).await.unwrap();
        tx.batch_execute(check).await.unwrap();
        tx.emit(message("a"))
    });
    done.await.unwrap();
    assert_eq!(bed.keys().await, ["a"]);
    connection.batch_execute(check).await.unwrap_err();
}

/// As the README has it. A reader at this level locks what it reads.
#[tokio::test(flavor = "multi_thread")]
async fn the_isolation_level_is_set_before_the_transaction_on_mariadb() {
    let bed = crate::support::mariadb().await;
    let read = format!("SELECT 1 FROM {}", bed.table("_partition"));
    let mut connection = bed.connect().await;
    for (before, locks) in [(LEVEL, true), ("SELECT 1", false)] {
        connection.batch_execute(before).await.unwrap();
        let done = bed.outbox.transaction(&mut connection, async |mut tx| {
            tx.batch_execute(&read).await.unwrap();
            let mut other = bed.connect().await;
            let locked = other.batch_execute(&format!("{read} FOR UPDATE NOWAIT")).await;
            assert_eq!(locked.is_err(), locks, "{locked:?}");
            tx.emit(message("a"))
        });
        done.await.unwrap();
    }
    assert_eq!(bed.keys().await, ["a", "a"]);
}
