//! PostgreSQL's facts that the relay's horizon relies on: once a snapshot's xmin has reached a
//! transaction id that was assigned after `M` was seen, no row at or below `M` is still to appear.

use std::time::{Duration, Instant};

use outbox_core::{FetchRequest, Page, Seq, Store as _, TxId};
use sqlx::{AssertSqlSafe, Postgres};

use crate::support::{Bed, fetch_all, newest_postgres, postgres};

macro_rules! on_both_versions {
    ($($test:ident),+ $(,)?) => {
        mod oldest {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::postgres().await).await;
            })+
        }
        mod newest {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::newest_postgres().await).await;
            })+
        }
    };
}

on_both_versions!(
    a_late_row_is_behind_the_cursor,
    the_transaction_id_comes_before_the_number,
    a_prepared_transaction_holds_the_horizon_back,
    a_long_writer_holds_back_only_the_horizon,
    a_long_reader_holds_back_nothing,
    a_lower_number_under_a_higher_transaction_id,
);

/// A page that reads on from `after` and looks behind it, down to the start.
async fn page(bed: &Bed<Postgres>, after: Seq) -> Page {
    let mut request = fetch_all();
    request.reads.iter_mut().for_each(|read| read.after = after);
    bed.store.fetch(&FetchRequest { horizon: Seq::START, ..request }).await.unwrap()
}

/// The first page whose snapshot has seen the end of all transactions below `tx`. Other tests on
/// this server have transactions too, so it may take a while.
async fn settled_page(bed: &Bed<Postgres>, after: Seq, tx: TxId) -> Page {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let page = page(bed, after).await;
        if page.xmin.unwrap() >= tx {
            return page;
        }
        assert!(Instant::now() < patience, "the horizon doesn't move");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// What the relay calls B: a transaction id assigned after now.
async fn later_tx(bed: &Bed<Postgres>) -> TxId {
    bed.deliver(&[]).await.tx.unwrap()
}

fn last(page: &Page) -> Seq {
    page.rows.iter().map(|row| row.seq).max().unwrap()
}

/// FAILURES row 1. Seen to fail with the look taken out of the fetch statement.
async fn a_late_row_is_behind_the_cursor(bed: Bed<Postgres>) {
    let mut late = bed.outbox.begin(bed.pool()).await.unwrap();
    bed.outbox.enqueue(&mut late, &crate::support::message("late")).await.unwrap();
    bed.enqueue(&["early"]).await;
    let first = page(&bed, Seq::START).await;
    assert_eq!(first.rows.len(), 1);
    let (cursor, tx) = (last(&first), later_tx(&bed).await);
    let open = page(&bed, cursor).await;
    assert!(open.xmin.unwrap() < tx, "a transaction that may hold a lower number is open");
    late.commit().await.unwrap();
    let after = settled_page(&bed, cursor, tx).await;
    assert!(after.rows.is_empty(), "the cursor alone would skip it for ever");
    let keys: Vec<_> = after.behind.iter().filter_map(|row| row.key.as_deref()).collect();
    assert!(keys.contains(&"late") && after.behind.iter().any(|row| row.seq < cursor), "{keys:?}");
}

/// Seen to fail with the default `nextval('outbox_seq')`: the number is then taken before the
/// transaction id, and the horizon passes it.
async fn the_transaction_id_comes_before_the_number(bed: Bed<Postgres>) {
    let (schema, outbox) = (bed.place.names.schema.as_ref().unwrap(), bed.table(""));
    // A trigger runs after the defaults were computed and before the row is written, which is
    // when PostgreSQL would assign a transaction id by itself.
    bed.execute(format!(
        "CREATE FUNCTION \"{schema}\".slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
           IF NEW.message_key = 'slow' THEN PERFORM pg_sleep(0.6); END IF; RETURN NEW; END $$;
         CREATE TRIGGER slow BEFORE INSERT ON {outbox}
           FOR EACH ROW EXECUTE FUNCTION \"{schema}\".slow()"
    ))
    .await;
    // The first number of a sequence is logged, which assigns a transaction id by itself.
    bed.enqueue(&["first"]).await;
    bed.execute(format!("DELETE FROM {outbox}")).await;
    let columns = "partition_no, id, topic, message_key, payload";
    let row = "0, gen_random_uuid(), 't', 'slow', ''::bytea";
    let insert = format!("INSERT INTO {outbox} ({columns})");
    let copied = r"0\t00000000-0000-0000-0000-000000000001\tt\tslow\t\\x";
    for form in [
        format!("{insert} VALUES ({row})"),
        format!("{insert} VALUES ({}), ({row})", row.replace("slow", "fast")),
        format!("{insert} SELECT {row} FROM generate_series(1, 2)"),
        format!("BEGIN; SAVEPOINT a; {insert} VALUES ({row}); RELEASE SAVEPOINT a; COMMIT"),
        format!(
            "DO $$ BEGIN BEGIN {insert} VALUES ({row}); EXCEPTION WHEN unique_violation THEN \
             NULL; END; END $$"
        ),
        format!("COPY {outbox} ({columns}) FROM PROGRAM 'printf \"{copied}\\n\"'"),
    ] {
        let pool = bed.pool().clone();
        let text = form.clone();
        let slow = tokio::spawn(async move {
            sqlx::raw_sql(AssertSqlSafe(text)).execute(&pool).await.unwrap();
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        bed.enqueue(&["fast"]).await;
        let cursor = last(&page(&bed, Seq::START).await);
        let tx = later_tx(&bed).await;
        let open = page(&bed, cursor).await;
        assert!(!slow.is_finished(), "{form}: the test is too slow to prove anything");
        assert!(open.xmin.unwrap() < tx, "{form}: the horizon passes a row that is to come");
        slow.await.unwrap();
        let seen = settled_page(&bed, cursor, tx).await.behind;
        let is_late = |row: &&outbox_core::RowBehind| row.key.as_deref() == Some("slow");
        let late = seen.iter().find(is_late).unwrap_or_else(|| panic!("{form}: {seen:?}"));
        assert!(late.seq < cursor, "{form}: it got its number first");
        bed.execute(format!("DELETE FROM {outbox}")).await;
    }
}

async fn a_prepared_transaction_holds_the_horizon_back(bed: Bed<Postgres>) {
    let name = format!("{}", bed.place.names.schema.as_ref().unwrap());
    let mut connection = bed.pool().acquire().await.unwrap();
    let raw = async |connection: &mut sqlx::PgConnection, text: String| {
        sqlx::raw_sql(AssertSqlSafe(text)).execute(connection).await.unwrap();
    };
    raw(&mut connection, "BEGIN".into()).await;
    let messages = [crate::support::message("prepared")];
    bed.outbox.enqueue_in_raw_transaction(&mut connection, &messages).await.unwrap();
    raw(&mut connection, format!("PREPARE TRANSACTION '{name}'")).await;
    bed.enqueue(&["early"]).await;
    let cursor = last(&page(&bed, Seq::START).await);
    let tx = later_tx(&bed).await;
    assert!(page(&bed, cursor).await.xmin.unwrap() < tx);
    raw(&mut connection, format!("COMMIT PREPARED '{name}'")).await;
    assert_eq!(settled_page(&bed, cursor, tx).await.behind.len(), 2);
}

/// FAILURES row 3: others go on, and that the horizon stays is visible. Seen to fail with a fetch
/// that returns only rows below xmin, which is how others avoid late rows.
async fn a_long_writer_holds_back_only_the_horizon(bed: Bed<Postgres>) {
    let mut writer = bed.pool().begin().await.unwrap();
    sqlx::query("SELECT pg_current_xact_id()").execute(&mut *writer).await.unwrap();
    bed.enqueue(&["a", "b"]).await;
    let rows = bed.all().await;
    assert_eq!(rows.len(), 2);
    let tx = bed.deliver(&rows[..1]).await.tx.unwrap();
    let page = page(&bed, Seq::START).await;
    assert!(page.rows.len() == 1 && page.xmin.unwrap() < tx);
    writer.rollback().await.unwrap();
    settled_page(&bed, Seq::START, tx).await;
}

async fn a_long_reader_holds_back_nothing(bed: Bed<Postgres>) {
    let mut reader = bed.pool().begin_with("BEGIN ISOLATION LEVEL REPEATABLE READ").await.unwrap();
    let count = format!("SELECT count(*) FROM {}", bed.table(""));
    sqlx::query(AssertSqlSafe(count)).execute(&mut *reader).await.unwrap();
    bed.enqueue(&["a"]).await;
    let tx = later_tx(&bed).await;
    settled_page(&bed, Seq::START, tx).await;
    reader.rollback().await.unwrap();
}

/// The order of transaction ids is not that of numbers, in either direction.
async fn a_lower_number_under_a_higher_transaction_id(bed: Bed<Postgres>) {
    for early_writes_first in [true, false] {
        let mut old = bed.outbox.begin(bed.pool()).await.unwrap();
        sqlx::query("SELECT pg_current_xact_id()").execute(&mut *old).await.unwrap();
        let mut young = bed.outbox.begin(bed.pool()).await.unwrap();
        sqlx::query("SELECT pg_current_xact_id()").execute(&mut *young).await.unwrap();
        let message = crate::support::message;
        let (mut late, mut early) = if early_writes_first { (young, old) } else { (old, young) };
        bed.outbox.enqueue(&mut late, &message("late")).await.unwrap();
        bed.outbox.enqueue(&mut early, &message("early")).await.unwrap();
        early.commit().await.unwrap();
        let cursor = last(&page(&bed, Seq::START).await);
        let tx = later_tx(&bed).await;
        assert!(page(&bed, cursor).await.xmin.unwrap() < tx);
        late.commit().await.unwrap();
        let seen = settled_page(&bed, cursor, tx).await;
        assert!(seen.rows.is_empty());
        assert_eq!(seen.behind.len(), 2, "{seen:?}");
        let rows = bed.all().await;
        bed.deliver(&rows).await;
    }
}
