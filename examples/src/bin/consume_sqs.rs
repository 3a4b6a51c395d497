//! A consumer of Amazon SQS, with an inbox in SQLite.
//!
//! `DATABASE_URL=sqlite:billing.db?mode=rwc SQS_QUEUE=orders cargo run -p examples --bin consume_sqs`,
//! with region and credentials where the AWS SDK finds them.

use std::error::Error;

use aws_config::BehaviorVersion;
use aws_smithy_http_client::Builder;
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use examples::{Billing, QUIET, variable};
use outbox::sqs::message_id;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let billing = Billing::open().await?;
    let http = Builder::new().tls_provider(Provider::Rustls(CryptoMode::Ring)).build_https();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let sqs = aws_sdk_sqs::Client::new(&config);
    let queue = sqs.get_queue_url().queue_name(variable("SQS_QUEUE")?).send().await?;
    let queue = queue.queue_url().ok_or("no queue of that name")?;
    loop {
        let receive = sqs.receive_message().queue_url(queue).max_number_of_messages(10);
        // Without asking for them, the attributes don't come, and with them the id.
        let receive = receive.message_attribute_names("All");
        let received = receive.wait_time_seconds(i32::try_from(QUIET.as_secs())?).send().await?;
        let messages = received.messages();
        if messages.is_empty() {
            return Ok(());
        }
        for message in messages {
            billing.receive(message_id(message), message.body().unwrap_or("").as_bytes()).await?;
            let delete = sqs.delete_message().queue_url(queue);
            delete.set_receipt_handle(message.receipt_handle.clone()).send().await?;
        }
    }
}
