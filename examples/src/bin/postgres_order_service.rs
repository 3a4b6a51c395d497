//! A service on PostgreSQL that takes an order each half second and relays its events, until it is
//! interrupted. Start it several times: the relays share the work.
//!
//! `DATABASE_URL=postgres://… cargo run -p examples --bin postgres_order_service`

use std::error::Error;
use std::sync::Arc;
use std::time::Duration;

use outbox::sqlx::Outbox;
use outbox::{CancellationToken, Ending, Message, Relay};
use serde::Serialize;
use sqlx::{PgPool, Postgres};

#[derive(Serialize)]
struct OrderPlaced<'a> {
    order: i64,
    customer: &'a str,
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr).init();
    let url = std::env::var("DATABASE_URL").map_err(|_| "set DATABASE_URL to a database's URL")?;
    let pool = PgPool::connect(&url).await?;
    sqlx::raw_sql(
        "CREATE TABLE IF NOT EXISTS example_orders \
         (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer text NOT NULL)",
    )
    .execute(&pool)
    .await?;
    // Any number of instances may do this at once.
    Outbox::migrate(&pool).await?;
    let outbox = Outbox::open(&pool).await?;

    let broker = std::env::var("OUTBOX_BROKER").unwrap_or_else(|_| "stdout:".into());
    let publisher = outbox::connect_publisher(&broker).await?;
    let store = Arc::new(outbox.store().await?);
    let relay = Relay::builder(store, publisher).waker(outbox.waker()).build()?;
    let stop = CancellationToken::new();
    let relaying = tokio::spawn({
        let stop = stop.clone();
        async move { relay.run(stop).await }
    });

    let service = take_orders(&pool, &outbox);
    tokio::select! {
        result = service => result?,
        interrupted = tokio::signal::ctrl_c() => interrupted?,
    }

    // What is on its way is finished, and the partitions go to the other instances at once.
    stop.cancel();
    match relaying.await? {
        Ending::Clean => Ok(()),
        Ending::Abrupt => Err("the relay could not finish in time".into()),
    }
}

async fn take_orders(pool: &PgPool, outbox: &Outbox<Postgres>) -> Result<(), Box<dyn Error>> {
    for customer in ["ann", "bob", "carol"].into_iter().cycle() {
        let mut tx = outbox.begin(pool).await?;
        let insert =
            sqlx::query_scalar("INSERT INTO example_orders (customer) VALUES ($1) RETURNING id");
        let order: i64 = insert.bind(customer).fetch_one(&mut *tx).await?;
        let event = OrderPlaced { order, customer };
        tx.emit(
            Message::json("orders", &event).key(customer).message_type("order.placed").build()?,
        )?;
        tx.commit().await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    Ok(())
}
