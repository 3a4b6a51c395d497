//! A stream, and a consumer that knows nothing of the adapter.

use std::collections::HashMap;
use std::time::{Duration, UNIX_EPOCH};

use async_nats::HeaderMap;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::CreateStreamError;
use async_nats::jetstream::{Context, stream};
use futures::StreamExt;
use outbox_core::{Message, MessageParts};
use outbox_nats::NatsConfig;
use percent_encoding::percent_decode_str;
use uuid::Uuid;

/// A stream that takes one subject, and those below it.
pub(crate) struct Stream {
    pub(crate) url: String,
    pub(crate) subject: String,
    pub(crate) jetstream: Context,
}

impl Stream {
    /// With a random name.
    pub(crate) async fn create(url: &str) -> Self {
        Self::create_as(url, stream::Config::default()).await
    }

    pub(crate) async fn create_as(url: &str, config: stream::Config) -> Self {
        Self::try_create(url, config).await.unwrap()
    }

    /// As soon as a cluster takes it.
    pub(crate) async fn create_patiently(url: &str, config: stream::Config) -> Self {
        loop {
            match Self::try_create(url, config.clone()).await {
                Ok(stream) => return stream,
                Err(_) => tokio::time::sleep(Duration::from_millis(200)).await,
            }
        }
    }

    async fn try_create(url: &str, config: stream::Config) -> Result<Self, CreateStreamError> {
        let subject = format!("test-{}", Uuid::now_v7());
        let client = async_nats::connect(url).await.unwrap();
        let jetstream = async_nats::jetstream::new(client);
        let (name, subjects) = (subject.clone(), vec![subject.clone(), format!("{subject}.>")]);
        let config = stream::Config { name, subjects, ..config };
        jetstream.create_stream(config).await?;
        Ok(Self { url: url.to_owned(), subject, jetstream })
    }

    pub(crate) fn config(&self) -> NatsConfig {
        self.url.parse().unwrap()
    }

    pub(crate) async fn update(&self, change: impl FnOnce(&mut stream::Config)) {
        let stream = self.jetstream.get_stream(&self.subject).await.unwrap();
        let mut config = stream.cached_info().config.clone();
        change(&mut config);
        self.jetstream.update_stream(config).await.unwrap();
    }

    pub(crate) async fn delete(&self) {
        self.jetstream.delete_stream(&self.subject).await.unwrap();
    }

    pub(crate) async fn count(&self) -> u64 {
        let mut stream = self.jetstream.get_stream(&self.subject).await.unwrap();
        stream.info().await.unwrap().state.messages
    }

    pub(crate) async fn arrived(&self) -> Vec<Message> {
        let mut stream = self.jetstream.get_stream(&self.subject).await.unwrap();
        let count = stream.info().await.unwrap().state.messages;
        let mut arrived = Vec::new();
        if count == 0 {
            return arrived;
        }
        let consumer = stream.create_consumer(OrderedConfig::default()).await.unwrap();
        let mut messages = consumer.messages().await.unwrap();
        for _ in 0..count {
            let message = messages.next().await.unwrap().unwrap().message;
            if is_claim(message.headers.as_ref()) {
                continue;
            }
            arrived.push(parse(&message.subject, message.headers.as_ref(), message.payload));
        }
        arrived
    }
}

/// Whether a fence was claimed by it.
fn is_claim(headers: Option<&HeaderMap>) -> bool {
    headers.is_some_and(|headers| headers.get("outbox-epoch").is_some())
}

fn parse(subject: &str, headers: Option<&HeaderMap>, payload: bytes::Bytes) -> Message {
    let headers = headers.expect("it has headers");
    let one = |name: &str| headers.get(name).map(ToString::to_string);
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let part = |name: &str| one(name).map(|text| decoded(&text));
    let micros = one("outbox-created-at").unwrap().parse().unwrap();
    Message::restore(MessageParts {
        id: one("Nats-Msg-Id").unwrap().parse().unwrap(),
        topic: subject.into(),
        key: part("outbox-key").map(Into::into),
        message_type: part("outbox-type").map(Into::into),
        content_type: part("outbox-content-type").unwrap().into(),
        payload,
        headers: user_headers(headers, one("outbox-headers")),
        created_at: UNIX_EPOCH + Duration::from_micros(micros),
    })
}

/// As the crate's documentation describes them.
fn user_headers(map: &HeaderMap, exact: Option<String>) -> Vec<(String, String)> {
    let decoded = |text: &str| percent_decode_str(text).decode_utf8().unwrap().into_owned();
    let mut values: HashMap<String, Vec<String>> = HashMap::new();
    for (name, list) in map.iter() {
        let name = name.to_string();
        if !name.starts_with("outbox-") && !name.starts_with("Nats-") {
            values.insert(name, list.iter().map(ToString::to_string).collect());
        }
    }
    let Some(exact) = exact else {
        let mut sorted: Vec<_> = values.into_iter().collect();
        sorted.sort();
        let pairs = sorted
            .into_iter()
            .flat_map(|(name, values)| values.into_iter().map(move |value| (name.clone(), value)));
        return pairs.collect();
    };
    let mut headers = Vec::new();
    for item in exact.split(' ') {
        let (name, value) = item.split_once('=').map_or((item, None), |(n, v)| (n, Some(v)));
        let carried = values.get_mut(&decoded(name)).unwrap().remove(0);
        headers.push((decoded(name), value.map_or(carried, decoded)));
    }
    headers
}
