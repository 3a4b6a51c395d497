//! From MariaDB to RabbitMQ.
//!
//! `DATABASE_URL=mysql://… AMQP_URL=amqp://localhost/%2f cargo run -p examples --bin mariadb_to_rabbitmq`

use std::error::Error;
use std::sync::Arc;

use examples::{relay_all, take_orders, variable};
use outbox::rabbitmq::{QueueType, RabbitMqConfig, RabbitMqPublisher};
use outbox::sqlx::Outbox;
use sqlx::MySqlPool;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let pool = MySqlPool::connect(&variable("DATABASE_URL")?).await?;
    Outbox::migrate(&pool).await?;
    let outbox = Outbox::open(&pool).await?;
    take_orders(&outbox, &pool).await?;

    let config = RabbitMqConfig {
        // Without an exchange the destination is a queue, here made when it is first needed.
        declare_queues: Some(QueueType::Quorum),
        ..variable("AMQP_URL")?.parse()?
    };
    relay_all(&outbox, Arc::new(RabbitMqPublisher::connect(config).await?)).await
}
