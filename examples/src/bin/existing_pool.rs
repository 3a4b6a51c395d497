//! An outbox beside a service's own pool and transactions: nothing of the service changes but the
//! line that enqueues.
//!
//! `cargo run -p examples --bin existing_pool`

use std::error::Error;

use outbox::Message;
use outbox::sqlx::{Identifier, Names, Outbox, OutboxConfig};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePoolOptions};
use sqlx::{Sqlite, SqlitePool, Transaction};

/// What a service has already.
struct Shop {
    pool: SqlitePool,
    outbox: Outbox<Sqlite>,
}

impl Shop {
    async fn place_order(&self, id: i64, customer: &str) -> Result<(), Box<dyn Error>> {
        let mut tx = self.pool.begin().await?;
        insert_order(&mut tx, id, customer).await?;
        let message = Message::json("orders", &id).key(customer).build()?;
        self.outbox.enqueue(&mut tx, &message).await?;
        tx.commit().await?;
        // `Outbox::begin` does this by itself; without it a relay sees the message at its next
        // poll, at the latest after half a second.
        self.outbox.waker().wake();
        Ok(())
    }
}

async fn insert_order(
    tx: &mut Transaction<'_, Sqlite>,
    id: i64,
    customer: &str,
) -> Result<(), sqlx::Error> {
    let insert = sqlx::query("INSERT INTO orders (id, customer) VALUES (?, ?)");
    insert.bind(id).bind(customer).execute(&mut **tx).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let directory = tempfile::tempdir()?;
    let options = SqliteConnectOptions::new()
        .filename(directory.path().join("shop.db"))
        .create_if_missing(true);
    let pool = SqlitePoolOptions::new().max_connections(5).connect_with(options).await?;
    sqlx::raw_sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL)")
        .execute(&pool)
        .await?;

    // Its tables are named `billing_outbox…`, so that another outbox can share the database.
    let names = Names { prefix: Identifier::new("billing_outbox")?, ..Names::default() };
    let config = OutboxConfig { partitions: 4, ..OutboxConfig::named(names) };
    Outbox::migrate_with(&pool, &config).await?;
    let shop = Shop { outbox: Outbox::open_with(&pool, config).await?, pool };

    shop.place_order(1, "ann").await?;
    let again = shop.place_order(1, "ann").await;
    tracing::info!("the same order again: {}", if again.is_err() { "refused" } else { "taken" });
    let pending: i64 =
        sqlx::query_scalar("SELECT count(*) FROM billing_outbox").fetch_one(&shop.pool).await?;
    tracing::info!("messages in the outbox: {pending}");
    Ok(())
}
