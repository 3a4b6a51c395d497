//! While a snapshot is held, PostgreSQL keeps every row that was deleted since, for that one to see.
//! FAILURES row 24.

use outbox_core::Store as _;
use sqlx::Postgres;

use crate::server::Server;
use crate::support::{Bed, Kind as _, Place, fetch_all, message};

/// What the server has read to answer fetches.
const PAGES: &str = "SELECT sum(shared_blks_hit + shared_blks_read)::bigint \
                     FROM pg_stat_statements WHERE query LIKE '%pg_snapshot_xmin%'";

/// What fetches read is what was enqueued since, not what was delivered before.
///
/// Counted in pages, by the server. Seen to fail with cursors that stay where they are, and with
/// looks that begin at the start: each round then reads more than the one before it.
#[tokio::test(flavor = "multi_thread")]
async fn what_was_delivered_costs_later_fetches_nothing_though_a_snapshot_is_held() {
    let server = Server::<Postgres>::start().await;
    let bed = Bed::new(Place::new(server.pool().clone(), server.url())).await;
    bed.execute("CREATE EXTENSION pg_stat_statements".to_owned()).await;
    let mut held = bed.pool().acquire().await.unwrap();
    Postgres::raw(&mut held, "BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT 1").await;

    let (mut request, mut rounds) = (fetch_all(), Vec::new());
    for _ in 0..8 {
        let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
        for number in 0..400 {
            tx.emit(message(&format!("key-{number}"))).unwrap();
        }
        tx.commit().await.unwrap();
        bed.execute("SELECT pg_stat_statements_reset()".to_owned()).await;
        let page = bed.store.fetch(&request).await.unwrap();
        assert_eq!((page.rows.len(), page.behind.len()), (400, 0));
        rounds.push(Postgres::number(bed.pool(), PAGES.to_owned()).await);
        for row in &page.rows {
            request.reads[usize::from(row.partition.0)].after = row.seq;
            request.horizon = request.horizon.max(row.seq);
        }
        bed.deliver(&page.rows).await;
    }
    assert!(rounds[0] > 0 && rounds[7] < rounds[1] * 3 / 2, "{rounds:?}");
    drop(held);
}
