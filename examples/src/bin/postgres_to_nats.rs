//! From PostgreSQL to NATS JetStream.
//!
//! `DATABASE_URL=postgres://… NATS_URL=nats://localhost:4222 cargo run -p examples --bin postgres_to_nats`

use std::error::Error;
use std::sync::Arc;

use examples::{relay_all, take_orders, variable};
use outbox::nats::{NatsConfig, NatsPublisher};
use outbox::sqlx::Outbox;
use sqlx::PgPool;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool = PgPool::connect(&variable("DATABASE_URL")?).await?;
    Outbox::migrate(&pool).await?;
    let outbox = Outbox::open(&pool).await?;
    take_orders(&outbox, &pool).await?;

    let config = NatsConfig {
        // Made if there is none: without a stream nobody would keep the messages.
        create_stream: Some("SHOP".to_owned()),
        subjects: vec!["shop.>".to_owned()],
        destination: "shop.{topic}".parse()?,
        ..variable("NATS_URL")?.parse()?
    };
    relay_all(&outbox, Arc::new(NatsPublisher::connect(config).await?)).await
}
