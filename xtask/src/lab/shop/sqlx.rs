//! The service on sqlx.

use anyhow::Result;
use async_trait::async_trait;
use outbox_core::Message;
use outbox_sqlx::{Database, Outbox, OutboxConfig};
use sqlx::pool::PoolOptions;
use sqlx::{MySql, Pool, Postgres, Sqlite};

use super::{Client, Purchase};
use crate::lab::target::Target;

pub(super) async fn clients(
    target: Target,
    url: &str,
    config: OutboxConfig,
    count: u32,
) -> Result<Vec<Box<dyn Client>>> {
    match target {
        Target::Sqlite => open::<Sqlite>(url, config, count).await,
        Target::Mariadb => open::<MySql>(url, config, count).await,
        Target::Postgres | Target::PostgresNewest => open::<Postgres>(url, config, count).await,
    }
}

async fn open<DB: Writes>(
    url: &str,
    config: OutboxConfig,
    count: u32,
) -> Result<Vec<Box<dyn Client>>> {
    let pool = PoolOptions::<DB>::new().max_connections(count).connect(url).await?;
    let outbox = Outbox::open_with(&pool, config).await?;
    let client = |_| Box::new(Sqlx { pool: pool.clone(), outbox: outbox.clone() }) as _;
    Ok((0..count).map(client).collect())
}

struct Sqlx<DB: Database> {
    pool: Pool<DB>,
    outbox: Outbox<DB>,
}

#[async_trait]
impl<DB: Writes> Client for Sqlx<DB> {
    async fn buy(&mut self, purchase: Purchase) -> Result<()> {
        let mut transaction = match DB::WRITING {
            Some(begin) => self.pool.begin_with(begin).await?,
            None => self.pool.begin().await?,
        };
        DB::write(&mut transaction, purchase).await?;
        Ok(transaction.commit().await?)
    }

    async fn buy_and_emit(&mut self, purchase: Purchase, events: usize) -> Result<()> {
        let mut transaction = self.outbox.begin(&self.pool).await?;
        DB::write(&mut transaction, purchase).await?;
        for event in purchase.events(events) {
            transaction.emit(event)?;
        }
        Ok(transaction.commit().await?)
    }

    async fn enqueue(&mut self, messages: &[Message], chunk: usize) -> Result<()> {
        let mut transaction = self.outbox.begin(&self.pool).await?;
        for messages in messages.chunks(chunk) {
            self.outbox.enqueue_all(&mut *transaction, messages).await?;
        }
        Ok(transaction.commit().await?)
    }
}

/// A database, and how its writes are worded.
#[async_trait]
trait Writes: Database {
    /// How a transaction begins that will write, if not by default.
    const WRITING: Option<&'static str>;

    async fn write(connection: &mut Self::Connection, purchase: Purchase) -> Result<()>;
}

macro_rules! writes {
    ($database:ty, $begin:expr, $charge:literal, $order:literal) => {
        #[async_trait]
        impl Writes for $database {
            const WRITING: Option<&'static str> = $begin;

            async fn write(connection: &mut Self::Connection, purchase: Purchase) -> Result<()> {
                sqlx::query($charge)
                    .bind(7_i64)
                    .bind(purchase.account)
                    .execute(&mut *connection)
                    .await?;
                let Purchase { order, account } = purchase;
                sqlx::query($order)
                    .bind(order)
                    .bind(account)
                    .bind(7_i64)
                    .execute(connection)
                    .await?;
                Ok(())
            }
        }
    };
}

writes!(
    Postgres,
    None,
    "UPDATE bench_accounts SET balance = balance - $1 WHERE id = $2",
    "INSERT INTO bench_orders (id, account, amount) VALUES ($1, $2, $3)"
);
writes!(
    MySql,
    None,
    "UPDATE bench_accounts SET balance = balance - ? WHERE id = ?",
    "INSERT INTO bench_orders (id, account, amount) VALUES (?, ?, ?)"
);
writes!(
    Sqlite,
    Some("BEGIN IMMEDIATE"),
    "UPDATE bench_accounts SET balance = balance - ? WHERE id = ?",
    "INSERT INTO bench_orders (id, account, amount) VALUES (?, ?, ?)"
);
