//! From PostgreSQL to Amazon SQS.
//!
//! `DATABASE_URL=postgres://… SQS_URL=sqs://eu-central-1 cargo run -p examples --bin postgres_to_sqs`

use std::error::Error;
use std::sync::Arc;

use examples::{relay_all, take_orders, variable};
use outbox::sqlx::Outbox;
use outbox::sqs::{SqsConfig, SqsPublisher};
use sqlx::PgPool;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool = PgPool::connect(&variable("DATABASE_URL")?).await?;
    Outbox::migrate(&pool).await?;
    let outbox = Outbox::open(&pool).await?;
    take_orders(&outbox, &pool).await?;

    let config = SqsConfig {
        // Only a FIFO queue keeps the order of a key.
        destination: "shop-{topic}.fifo".parse()?,
        create_queues: true,
        ..variable("SQS_URL")?.parse()?
    };
    relay_all(&outbox, Arc::new(SqsPublisher::connect(config).await?)).await
}
