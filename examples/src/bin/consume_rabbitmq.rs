//! A consumer of RabbitMQ, with an inbox in SQLite.
//!
//! `DATABASE_URL=sqlite:billing.db?mode=rwc AMQP_URL=amqp://localhost cargo run -p examples --bin consume_rabbitmq`

use std::error::Error;

use examples::{Billing, QUIET, variable};
use futures::StreamExt as _;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions};
use lapin::types::FieldTable;
use lapin::{Connection, ConnectionProperties};
use outbox::rabbitmq::message_id;
use tokio::time::timeout;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let billing = Billing::open().await?;
    let properties = ConnectionProperties::default();
    let connection = Connection::connect(&variable("AMQP_URL")?, properties).await?;
    let channel = connection.create_channel().await?;
    channel.basic_qos(100, BasicQosOptions::default()).await?;
    let options = BasicConsumeOptions::default();
    let consume =
        channel.basic_consume("orders".into(), "billing".into(), options, FieldTable::default());
    let mut deliveries = consume.await?;
    while let Ok(Some(delivery)) = timeout(QUIET, deliveries.next()).await {
        let delivery = delivery?;
        billing.receive(message_id(&delivery.properties), &delivery.data).await?;
        delivery.ack(BasicAckOptions::default()).await?;
    }
    Ok(())
}
