//! From SQLite to Redis Streams.
//!
//! `DATABASE_URL=sqlite:shop.db?mode=rwc REDIS_URL=redis://localhost:6379 cargo run -p examples --bin sqlite_to_redis`

use std::error::Error;
use std::sync::Arc;

use examples::{relay_all, take_orders, variable};
use outbox::redis::{RedisConfig, RedisPublisher};
use outbox::sqlx::Outbox;
use sqlx::SqlitePool;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool = SqlitePool::connect(&variable("DATABASE_URL")?).await?;
    Outbox::migrate(&pool).await?;
    let outbox = Outbox::open(&pool).await?;
    take_orders(&outbox, &pool).await?;

    let config = RedisConfig {
        // Who trims a stream, loses what nobody has read yet: about a million entries are kept.
        maxlen: Some(1_000_000),
        ..variable("REDIS_URL")?.parse()?
    };
    relay_all(&outbox, Arc::new(RedisPublisher::connect(config).await?)).await
}
