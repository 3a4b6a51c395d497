//! SQS, by the AWS SDK's batches.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, StalledStreamProtectionConfig};
use aws_sdk_sqs::types::{MessageAttributeValue, SendMessageBatchRequestEntry};
use aws_sdk_sqs::{Client, Config};
use aws_smithy_http_client::Builder;
use futures::future::try_join_all;
use outbox_core::Message;
use outbox_core::broker::{
    CONTENT_TYPE, CREATED_AT, MESSAGE_ID, MESSAGE_KEY, MESSAGE_TYPE, created_at_micros,
};
use outbox_sqs::{SqsConfig, SqsPublisher};
use secrecy::ExposeSecret;
use tokio::sync::Semaphore;

use super::{Bare, Pair};

/// More SQS doesn't take in a request.
const ENTRIES: usize = 10;

pub(super) async fn connect(url: &str) -> Result<Pair> {
    let config: SqsConfig = url.parse()?;
    let id = config.access_key_id.clone().context("the URL has no `access_key_id`")?;
    let secret = config.secret_access_key.as_ref().context("it has no `secret_access_key`")?;
    let mut options = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(Builder::new().build_http())
        .credentials_provider(Credentials::new(id, secret.expose_secret(), None, None, "bench"))
        .retry_config(RetryConfig::disabled())
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
    options.set_region(config.region.clone().map(Region::new));
    options.set_endpoint_url(config.endpoint.clone());
    let bare = Arc::new(Sqs {
        client: Client::from_conf(options.build()),
        urls: Mutex::default(),
        requests: Semaphore::new(config.concurrency),
    });
    Ok(Pair { adapter: Arc::new(SqsPublisher::connect(config).await?), bare })
}

struct Sqs {
    client: Client,
    /// Of the queues, by their names.
    urls: Mutex<HashMap<String, String>>,
    /// One for each that may be under way.
    requests: Semaphore,
}

impl Sqs {
    fn url(&self, name: &str) -> Result<String> {
        let urls = self.urls.lock().expect("nobody panics");
        urls.get(name).cloned().context("the queue was not created here")
    }

    async fn send(&self, url: &str, messages: &[Arc<Message>]) -> Result<()> {
        let _permit = self.requests.acquire().await?;
        let entries = messages.iter().enumerate().map(|(n, message)| entry(n, message));
        let entries = entries.collect::<Result<_>>()?;
        let request = self.client.send_message_batch().queue_url(url).set_entries(Some(entries));
        let answer = request.send().await?;
        ensure!(answer.failed().is_empty(), "SQS refuses {:?}", answer.failed());
        Ok(())
    }
}

#[async_trait]
impl Bare for Sqs {
    async fn create(&self, name: &str) -> Result<()> {
        let answer = self.client.create_queue().queue_name(name).send().await?;
        let url = answer.queue_url().context("the queue has no URL")?;
        self.urls.lock().expect("nobody panics").insert(name.to_owned(), url.to_owned());
        Ok(())
    }

    async fn remove(&self, name: &str) -> Result<()> {
        self.client.delete_queue().queue_url(self.url(name)?).send().await?;
        Ok(())
    }

    async fn publish(&self, batch: &[Arc<Message>]) -> Result<()> {
        let Some(first) = batch.first() else { return Ok(()) };
        let url = self.url(first.topic())?;
        try_join_all(batch.chunks(ENTRIES).map(|messages| self.send(&url, messages))).await?;
        Ok(())
    }
}

fn entry(n: usize, message: &Message) -> Result<SendMessageBatchRequestEntry> {
    let attribute = |name: &str, value: &str| {
        let value = MessageAttributeValue::builder().data_type("String").string_value(value);
        Ok((name.to_owned(), value.build()?))
    };
    let attributes = [
        attribute(MESSAGE_ID, &message.id().to_string()),
        attribute(CREATED_AT, &created_at_micros(message).to_string()),
        attribute(CONTENT_TYPE, message.content_type()),
        attribute(MESSAGE_KEY, message.key().unwrap_or_default()),
        attribute(MESSAGE_TYPE, message.message_type().unwrap_or_default()),
    ];
    let entry = SendMessageBatchRequestEntry::builder()
        .id(n.to_string())
        .message_body(std::str::from_utf8(message.payload())?)
        .set_message_attributes(Some(attributes.into_iter().collect::<Result<_>>()?));
    Ok(entry.build()?)
}
