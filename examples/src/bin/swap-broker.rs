//! One program for every broker: the URL is all that differs.
//!
//! `OUTBOX_BROKER=kafka://localhost:9092 cargo run -p examples --bin swap-broker`
//!
//! or `nats://…`, `amqp://…`, `sqs://…`, `redis://…`, `file:…`, `stdout:`. The outbox is a
//! temporary SQLite database, so that it needs nothing else.

#![expect(clippy::print_stdout, reason = "it says what it has done")]

use std::error::Error;

use examples::{relay_all, take_orders, variable};
use outbox::sqlx::Outbox;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let directory = tempfile::tempdir()?;
    let url = format!("sqlite:{}?mode=rwc", directory.path().join("shop.db").display());
    let pool = sqlx::SqlitePool::connect(&url).await?;
    Outbox::migrate(&pool).await?;
    let outbox = Outbox::open(&pool).await?;
    take_orders(&outbox, &pool).await?;

    let broker = variable("OUTBOX_BROKER")?;
    let publisher = outbox::connect_publisher(&broker).await?;
    relay_all(&outbox, publisher).await?;
    // Never the URL as it is: it may hold a password.
    println!("published to {}", outbox::redact(&broker));
    Ok(())
}
