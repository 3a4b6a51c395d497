//! A consumer of Kafka, with an inbox in SQLite.
//!
//! `DATABASE_URL=sqlite:billing.db?mode=rwc KAFKA_SERVERS=localhost:9092 cargo run -p examples --bin consume_kafka`

use std::error::Error;

use examples::{Billing, QUIET, variable};
use outbox::kafka::message_id;
use rdkafka::consumer::{CommitMode, Consumer as _, StreamConsumer};
use rdkafka::{ClientConfig, Message as _};
use tokio::time::timeout;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let billing = Billing::open().await?;
    let consumer: StreamConsumer = ClientConfig::new()
        .set("bootstrap.servers", variable("KAFKA_SERVERS")?)
        .set("group.id", "billing")
        .set("auto.offset.reset", "earliest")
        // Only what has taken effect is committed.
        .set("enable.auto.commit", "false")
        .create()?;
    consumer.subscribe(&["orders"])?;
    // Joining the group takes its time.
    let mut patience = 4 * QUIET;
    while let Ok(record) = timeout(patience, consumer.recv()).await {
        let record = record?;
        billing.receive(message_id(&record), record.payload().unwrap_or_default()).await?;
        consumer.commit_message(&record, CommitMode::Sync)?;
        patience = QUIET;
    }
    Ok(())
}
