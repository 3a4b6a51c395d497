//! The whole loop: migrate, enqueue in a transaction, relay to standard output.
//!
//! `cargo run -p examples --bin sqlite_to_stdout`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use outbox::sqlx::Outbox;
use outbox::{Admin as _, CancellationToken, Message, Relay};
use sqlx::SqlitePool;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let file = directory.path().join("shop.db");
    let pool = SqlitePool::connect(&format!("sqlite:{}?mode=rwc", file.display())).await?;
    sqlx::raw_sql("CREATE TABLE orders (id INTEGER PRIMARY KEY, customer TEXT NOT NULL)")
        .execute(&pool)
        .await?;
    Outbox::migrate(&pool).await?;
    let outbox = Outbox::open(&pool).await?;

    let publisher = outbox::connect_publisher("stdout:").await?;
    let store = Arc::new(outbox.store().await?);
    let relay = Relay::builder(Arc::clone(&store) as _, publisher).waker(outbox.waker()).build()?;
    let stop = CancellationToken::new();
    let relaying = tokio::spawn({
        let stop = stop.clone();
        async move { relay.run(stop).await }
    });

    for (id, customer, paid) in [(1, "ann", true), (2, "bob", false), (3, "ann", true)] {
        let mut tx = outbox.begin(&pool).await?;
        let insert = sqlx::query("INSERT INTO orders (id, customer) VALUES (?, ?)");
        insert.bind(id).bind(customer).execute(&mut *tx).await?;
        tx.emit(Message::json("orders", &id).key(customer).message_type("order.placed").build()?)?;
        // Order 2 isn't paid: with its transaction its message is gone too.
        if paid { tx.commit().await? } else { tx.rollback().await? }
    }

    while store.stats().await?.depth > 0 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    stop.cancel();
    relaying.await?;
    Ok(())
}
