//! A consumer of NATS JetStream, with an inbox in SQLite.
//!
//! `DATABASE_URL=sqlite:billing.db?mode=rwc NATS_URL=nats://localhost:4222 cargo run -p examples --bin consume_nats`

use std::error::Error;

use async_nats::jetstream::{self, consumer::pull};
use examples::{Billing, QUIET, variable};
use futures::StreamExt as _;
use outbox::nats::message_id;
use tokio::time::timeout;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let billing = Billing::open().await?;
    let client = async_nats::connect(variable("NATS_URL")?).await?;
    let stream = jetstream::new(client).get_stream("ORDERS").await?;
    let config = pull::Config { durable_name: Some("billing".to_owned()), ..Default::default() };
    let consumer = stream.get_or_create_consumer("billing", config).await?;
    let mut messages = consumer.messages().await?;
    while let Ok(Some(message)) = timeout(QUIET, messages.next()).await {
        let message = message?;
        billing.receive(message_id(&message), &message.payload).await?;
        // The server confirms it: else it would come again, and be a duplicate.
        message.double_ack().await.map_err(|error| -> Box<dyn Error> { error })?;
    }
    Ok(())
}
