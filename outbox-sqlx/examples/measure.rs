//! Measures fetching and settling.
#![allow(clippy::print_stdout, clippy::cast_precision_loss, missing_docs)]
use std::time::{Duration, Instant};

use outbox_core::*;
use outbox_sqlx::{Database, Identifier, Names, Outbox};
use sqlx::Pool;

async fn run<DB: Database>(name: &str, pool: Pool<DB>, prefix: &str, total: usize) {
    let names = Names { prefix: Identifier::new(prefix).unwrap(), ..Names::default() };
    let b = || Outbox::<DB>::builder().names(names.clone());
    b().migrate(&pool).await.unwrap();
    let outbox = b().open(&pool).await.unwrap();
    let store = outbox.store().await.unwrap();
    let start = Instant::now();
    for chunk in 0..total / 10_000 {
        let all: Vec<_> = (0..10_000)
            .map(|n| {
                Message::bytes("orders", vec![7; 512])
                    .key(chunk * 10_000 + n)
                    .header("tenant", "acme")
                    .build()
                    .unwrap()
            })
            .collect();
        let mut tx = outbox.begin(&pool).await.unwrap();
        outbox.enqueue_all(&mut tx, &all).await.unwrap();
        tx.commit().await.unwrap();
    }
    println!(
        "{name}: enqueue {total} in {:?}: {:.0}/s",
        start.elapsed(),
        total as f64 / start.elapsed().as_secs_f64()
    );
    let relay = RelayId(uuid::Uuid::now_v7());
    let start = Instant::now();
    let request = LeaseRequest {
        relay,
        ttl: Duration::from_secs(30),
        take: (0..16).map(Partition).collect(),
        release: vec![],
        sick: false,
        leaving: false,
    };
    store.lease(&request).await.unwrap();
    println!("  lease (takes) {:?}", start.elapsed());
    let start = Instant::now();
    store.lease(&LeaseRequest { take: vec![], ..request }).await.unwrap();
    println!("  lease (renews) {:?}", start.elapsed());
    for per in [64_u32, 256] {
        let mut after = [Seq::START; 16];
        let (mut fetching, mut settling, mut rows, mut pages) =
            (Duration::ZERO, Duration::ZERO, 0, 0);
        while rows < total / 2 {
            let reads = (0..16)
                .map(|p| PartitionRead {
                    partition: Partition(p),
                    after: after[usize::from(p)],
                    limit: per,
                    bytes: 16 << 20,
                })
                .collect();
            let start = Instant::now();
            let page = store
                .fetch(&FetchRequest { reads, horizon: Seq(i64::MAX), look_limit: 1000 })
                .await
                .unwrap();
            fetching += start.elapsed();
            if page.rows.is_empty() {
                break;
            }
            for row in &page.rows {
                let a = &mut after[usize::from(row.partition.0)];
                *a = row.seq.max(*a);
            }
            rows += page.rows.len();
            pages += 1;
            let delivered = page
                .rows
                .iter()
                .map(|r| RowRef { partition: r.partition, seq: r.seq, id: r.message.id() })
                .collect();
            let start = Instant::now();
            store.settle(&SettleRequest { relay, delivered, verdicts: vec![] }).await.unwrap();
            settling += start.elapsed();
        }
        if pages == 0 {
            continue;
        }
        println!(
            "  {per} x 16: {pages} pages, fetch {:?} ({:.0}/s), settle {:?} ({:.0}/s)",
            fetching / pages,
            rows as f64 / fetching.as_secs_f64(),
            settling / pages,
            rows as f64 / settling.as_secs_f64()
        );
    }
    // Pages of large payloads, bounded in bytes.
    let all: Vec<_> = (0..200)
        .map(|n| Message::bytes("orders", vec![7; 1 << 20]).key(n).build().unwrap())
        .collect();
    let mut tx = outbox.begin(&pool).await.unwrap();
    outbox.enqueue_all(&mut tx, &all).await.unwrap();
    tx.commit().await.unwrap();
    let reads = (0..16)
        .map(|p| PartitionRead {
            partition: Partition(p),
            after: Seq(0),
            limit: 1000,
            bytes: 1 << 20,
        })
        .collect();
    let start = Instant::now();
    let page = store
        .fetch(&FetchRequest { reads, horizon: Seq(i64::MAX), look_limit: 1000 })
        .await
        .unwrap();
    println!("  1 MiB payloads: {} rows in {:?}", page.rows.len(), start.elapsed());
}

#[tokio::main]
async fn main() {
    let total = std::env::args().nth(1).map_or(100_000, |n| n.parse().unwrap());
    let which = std::env::args().nth(2).unwrap_or_else(|| "pms".into());
    let prefix = format!(
        "m{}",
        uuid::Uuid::now_v7().simple().to_string().chars().take(12).collect::<String>()
    );
    if which.contains('s') {
        let dir = tempfile::tempdir().unwrap();
        let pool = Pool::connect(&format!("sqlite:{}?mode=rwc", dir.path().join("a.db").display()))
            .await
            .unwrap();
        run::<sqlx::Sqlite>("SQLite", pool, &prefix, total).await;
    }
    if which.contains('p') {
        let pool = Pool::connect("postgres://outbox:outbox@127.0.0.1:54315/outbox").await.unwrap();
        run::<sqlx::Postgres>("PostgreSQL", pool, &prefix, total).await;
    }
    if which.contains('m') {
        let pool = Pool::connect("mysql://outbox:outbox@127.0.0.1:33061/outbox").await.unwrap();
        run::<sqlx::MySql>("MariaDB", pool, &prefix, total).await;
    }
}
