//! From PostgreSQL to Kafka.
//!
//! `DATABASE_URL=postgres://… KAFKA_URL=kafka://localhost:9092 cargo run -p examples --bin postgres_to_kafka`

use std::error::Error;
use std::sync::Arc;

use examples::{relay_all, take_orders, variable};
use outbox::kafka::{Compression, KafkaConfig, KafkaPublisher};
use outbox::sqlx::Outbox;
use sqlx::PgPool;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool = PgPool::connect(&variable("DATABASE_URL")?).await?;
    Outbox::migrate(&pool).await?;
    let outbox = Outbox::open(&pool).await?;
    take_orders(&outbox, &pool).await?;

    let config = KafkaConfig {
        // All that makes a URL can be set here, too.
        compression: Compression::Zstd,
        create_topics: true,
        ..variable("KAFKA_URL")?.parse()?
    };
    relay_all(&outbox, Arc::new(KafkaPublisher::connect(config).await?)).await
}
