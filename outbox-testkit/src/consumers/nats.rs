//! NATS JetStream.

use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::{self, stream};
use async_trait::async_trait;
use futures::StreamExt as _;
use uuid::Uuid;

use super::Consumer;

/// A server by its URL. Each topic has a stream of its own, which also takes the claims of a fence
/// `{topic}.fence`. One that refuses takes such claims, and nothing longer.
#[derive(Debug)]
pub struct Nats(pub String);

/// Long enough for a claim, whose headers are two small numbers, and too short for any message.
const CLAIM: i32 = 90;

impl Nats {
    async fn context(&self) -> jetstream::Context {
        jetstream::new(async_nats::connect(&self.0).await.unwrap())
    }
}

fn stream(topic: &str) -> stream::Config {
    stream::Config {
        name: topic.to_owned(),
        subjects: vec![topic.to_owned(), format!("{topic}.fence.*")],
        ..stream::Config::default()
    }
}

#[async_trait]
impl Consumer for Nats {
    async fn create(&self, topic: &str) {
        self.context().await.create_stream(stream(topic)).await.unwrap();
    }

    async fn refuse(&self, topic: &str) {
        let small = stream::Config { max_message_size: CLAIM, ..stream(topic) };
        self.context().await.create_stream(small).await.unwrap();
    }

    async fn admit(&self, topic: &str) {
        self.context()
            .await
            .update_stream(stream::Config { max_message_size: -1, ..stream(topic) })
            .await
            .unwrap();
    }

    async fn arrived(&self, topic: &str) -> Vec<Uuid> {
        let mut stream = self.context().await.get_stream(topic).await.unwrap();
        let count = usize::try_from(stream.info().await.unwrap().state.messages).unwrap();
        let consumer = stream.create_consumer(OrderedConfig::default()).await.unwrap();
        let messages = consumer.messages().await.unwrap().take(count);
        let id = async |message: Result<jetstream::Message, _>| -> Option<Uuid> {
            let message = message.unwrap();
            let is_claim = message.subject.as_str() != topic;
            let id = || message.headers.as_ref()?.get("Nats-Msg-Id");
            (!is_claim).then(|| id().expect("it has an id").as_str().parse().unwrap())
        };
        messages.filter_map(id).collect().await
    }
}
