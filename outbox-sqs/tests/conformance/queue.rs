//! A queue, and a consumer that knows nothing of the adapter.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{Message as Received, MessageAttributeValue, QueueAttributeName};
use aws_smithy_http_client::tls::{Provider, rustls_provider::CryptoMode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use outbox_core::{Message, MessageParts};
use outbox_sqs::SqsConfig;
use outbox_testkit::servers;
use tokio::sync::Mutex;
use uuid::Uuid;

/// A queue with a random name on the shared server.
pub(crate) struct Queue {
    pub(crate) name: String,
    pub(crate) url: String,
    pub(crate) client: Client,
    arrived: Mutex<Vec<Received>>,
}

/// The URL of the shared server.
pub(crate) fn shared() -> String {
    servers::shared("OUTBOX_TEST_SQS")
}

pub(crate) fn config() -> SqsConfig {
    shared().parse().unwrap()
}

pub(crate) fn client() -> Client {
    client_of(&config())
}

pub(crate) fn client_of(config: &SqsConfig) -> Client {
    let tls = Provider::Rustls(CryptoMode::Ring);
    let http = aws_smithy_http_client::Builder::new().tls_provider(tls).build_https();
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(http)
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("test", "test", None, None, "test"))
        .endpoint_url(config.endpoint.as_deref().unwrap());
    Client::from_conf(config.build())
}

pub(crate) fn random_name(fifo: bool) -> String {
    format!("test-{}{}", Uuid::now_v7(), if fifo { ".fifo" } else { "" })
}

impl Queue {
    pub(crate) async fn create(fifo: bool) -> Self {
        Self::create_as(fifo, &[]).await
    }

    pub(crate) async fn create_as(fifo: bool, settings: &[(QueueAttributeName, &str)]) -> Self {
        let name = random_name(fifo);
        let kind = fifo.then_some((QueueAttributeName::FifoQueue, "true"));
        let settings: Vec<_> = settings.iter().cloned().chain(kind).collect();
        Self::create_at(client(), &name, &settings).await
    }

    pub(crate) async fn create_at(
        client: Client,
        name: &str,
        settings: &[(QueueAttributeName, &str)],
    ) -> Self {
        let mut request = client.create_queue().queue_name(name);
        for (setting, value) in settings {
            request = request.attributes(setting.clone(), *value);
        }
        let url = request.send().await.unwrap().queue_url.unwrap();
        Self { name: name.to_owned(), url, client, arrived: Mutex::default() }
    }

    pub(crate) async fn delete(&self) {
        self.client.delete_queue().queue_url(&self.url).send().await.unwrap();
    }

    /// How many messages there are.
    pub(crate) async fn count(&self) -> usize {
        let number = QueueAttributeName::ApproximateNumberOfMessages;
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request.attribute_names(number.clone()).send().await.unwrap();
        answer.attributes.unwrap()[&number].parse().unwrap()
    }

    /// All that has arrived so far, in the order in which SQS says that it was sent.
    pub(crate) async fn raw(&self) -> Vec<Received> {
        let mut arrived = self.arrived.lock().await;
        loop {
            let request = self.client.receive_message().queue_url(&self.url);
            let request = request.max_number_of_messages(10).wait_time_seconds(0);
            let request = request.message_attribute_names("All");
            let request = request.message_system_attribute_names("All".into());
            let messages = request.send().await.unwrap().messages.unwrap_or_default();
            if messages.is_empty() {
                return arrived.clone();
            }
            for message in messages {
                let receipt = message.receipt_handle().unwrap();
                let delete = self.client.delete_message().queue_url(&self.url);
                delete.receipt_handle(receipt).send().await.unwrap();
                arrived.push(message);
            }
        }
    }

    pub(crate) async fn arrived(&self) -> Vec<Message> {
        self.raw().await.iter().map(|message| parse(&self.name, message)).collect()
    }

    /// Like `arrived`, once nothing more comes.
    pub(crate) async fn settled(&self) -> Vec<Message> {
        let mut count = self.arrived().await.len();
        loop {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let arrived = self.arrived().await;
            if arrived.len() == count {
                return arrived;
            }
            count = arrived.len();
        }
    }
}

/// As the crate's documentation describes it.
fn parse(topic: &str, message: &Received) -> Message {
    let attributes = message.message_attributes().unwrap();
    assert!(attributes.len() <= 10, "SQS takes ten");
    let all: HashMap<_, _> =
        attributes.iter().map(|(name, of)| (name.as_str(), text(of))).collect();
    let one = |name: &str| all.get(name).cloned();
    let body = message.body().unwrap();
    let payload = match one("outbox-body-encoding").as_deref() {
        None => body.as_bytes().to_vec(),
        Some("base64") => STANDARD.decode(body).unwrap(),
        Some("empty") => Vec::new(),
        Some(other) => panic!("{other}"),
    };
    let together = one("outbox-headers").map(|all| serde_json::from_str(&all).unwrap());
    let headers = together.unwrap_or_else(|| {
        let mut headers: Vec<_> = all.into_iter().collect();
        headers.retain(|(name, _)| !name.starts_with("outbox-"));
        headers.sort_unstable();
        headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    });
    let part = |name: &str| attributes.get(name).map(|of| text(of).into());
    Message::restore(MessageParts {
        id: text(&attributes["outbox-id"]).parse().unwrap(),
        topic: topic.into(),
        key: part("outbox-key"),
        message_type: part("outbox-type"),
        content_type: part("outbox-content-type").unwrap(),
        payload: payload.into(),
        headers,
        created_at: UNIX_EPOCH
            + Duration::from_micros(text(&attributes["outbox-created-at"]).parse().unwrap()),
    })
}

fn text(value: &MessageAttributeValue) -> String {
    match value.data_type() {
        "String" => value.string_value().unwrap().to_owned(),
        "Binary" => String::from_utf8(value.binary_value().unwrap().as_ref().to_vec()).unwrap(),
        other => panic!("{other}"),
    }
}
