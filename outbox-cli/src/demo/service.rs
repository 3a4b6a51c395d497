//! The order service: what a user of the outbox writes.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use outbox::Message;
use outbox::sqlx::{Outbox, OutboxTransaction};
use serde::Serialize;
use sqlx::{Sqlite, SqlitePool};
use tokio::task::JoinSet;
use uuid::Uuid;

/// `ledger` says what each transaction meant to publish; it is written in the same transaction,
/// so that it is there if, and only if, the order is. Its `place` grows in the order in which the
/// database committed, as SQLite has one writer at a time.
pub(super) const TABLES: &str = "
    CREATE TABLE orders (
        id INTEGER PRIMARY KEY,
        customer TEXT NOT NULL,
        cents INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE ledger (
        place INTEGER PRIMARY KEY,
        message_id TEXT NOT NULL UNIQUE,
        customer TEXT NOT NULL
    ) STRICT;
";

pub(super) struct Service {
    pub(super) pool: SqlitePool,
    pub(super) outbox: Outbox<Sqlite>,
    pub(super) customers: u64,
}

/// What the service did, as its own code knows it.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Messages of committed transactions, with when the commit was confirmed.
    pub(super) committed_at: HashMap<Uuid, Instant>,
    /// Messages of transactions that were rolled back.
    pub(super) rolled_back: Vec<Uuid>,
    /// Transactions that were committed.
    pub(super) orders: u64,
}

#[derive(Serialize)]
struct OrderEvent<'a> {
    order: u64,
    customer: &'a str,
    cents: u64,
}

type Failed = Box<dyn std::error::Error + Send + Sync>;

impl Service {
    /// Tries `orders` transactions, by several tasks at once, counting them as they end.
    pub(super) async fn work(
        self,
        orders: u64,
        writers: u64,
        counter: Arc<AtomicU64>,
    ) -> Result<Done, Failed> {
        let service = Arc::new(self);
        let next = Arc::new(AtomicU64::new(1));
        let mut tasks = JoinSet::new();
        for writer in 0..writers {
            let (service, next, counter) = (service.clone(), next.clone(), counter.clone());
            tasks.spawn(async move {
                let mut done = Done::default();
                let mut random = fastrand::Rng::with_seed(writer);
                loop {
                    let order = next.fetch_add(1, Ordering::Relaxed);
                    if order > orders {
                        return Ok::<_, Failed>(done);
                    }
                    service.order(order, &mut random, &mut done).await?;
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let mut all = Done::default();
        while let Some(done) = tasks.join_next().await {
            let done = done??;
            all.committed_at.extend(done.committed_at);
            all.rolled_back.extend(done.rolled_back);
            all.orders += done.orders;
        }
        Ok(all)
    }

    /// One transaction: an order, one to three events, and the ledger. A fifth rolls back.
    async fn order(
        &self,
        order: u64,
        random: &mut fastrand::Rng,
        done: &mut Done,
    ) -> Result<(), Failed> {
        let customer = format!("customer-{}", random.u64(0..self.customers));
        let cents = random.u64(100..50_000);
        let mut tx = self.outbox.begin(&self.pool).await?;
        sqlx::query("INSERT INTO orders (id, customer, cents) VALUES (?, ?, ?)")
            .bind(i64::try_from(order)?)
            .bind(&customer)
            .bind(i64::try_from(cents)?)
            .execute(&mut *tx)
            .await?;
        let mut ids = Vec::new();
        let kinds = ["order.placed", "order.paid", "order.shipped"];
        for kind in &kinds[..random.usize(1..=kinds.len())] {
            let event = OrderEvent { order, customer: &customer, cents };
            let message = Message::json("orders", &event).key(&customer).message_type(*kind);
            let message = message.build()?;
            note(&mut tx, &message, &customer).await?;
            ids.push(message.id());
            tx.emit(message)?;
        }
        if random.u8(0..5) == 0 {
            tx.rollback().await?;
            done.rolled_back.extend(ids);
        } else {
            tx.commit().await?;
            let now = Instant::now();
            done.committed_at.extend(ids.into_iter().map(|id| (id, now)));
            done.orders += 1;
        }
        Ok(())
    }
}

async fn note(
    tx: &mut OutboxTransaction<'_, Sqlite>,
    message: &Message,
    customer: &str,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO ledger (message_id, customer) VALUES (?, ?)");
    insert.bind(message.id().to_string()).bind(customer).execute(&mut **tx).await?;
    Ok(())
}
