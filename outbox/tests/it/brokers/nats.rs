//! NATS JetStream.

use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::{self, stream};
use futures::StreamExt as _;
use outbox_testkit::servers::{self, Server};
use uuid::Uuid;

use super::{Broker, Target, from_every_store};

struct Nats(Server);

async fn context(url: &str) -> jetstream::Context {
    jetstream::new(async_nats::connect(url).await.unwrap())
}

impl Broker for Nats {
    async fn target(&self) -> Target {
        let (url, topic) = (self.0.url(), Uuid::now_v7().to_string());
        let config = stream::Config {
            name: topic.clone(),
            subjects: vec![topic.clone()],
            ..stream::Config::default()
        };
        context(&url).await.create_stream(config).await.unwrap();
        Target { url, topic }
    }

    async fn restart(&mut self) {
        self.0.restart().await;
    }

    async fn arrived(&self, target: &Target) -> Vec<Uuid> {
        let mut stream = context(&target.url).await.get_stream(&target.topic).await.unwrap();
        let count = usize::try_from(stream.info().await.unwrap().state.messages).unwrap();
        let consumer = stream.create_consumer(OrderedConfig::default()).await.unwrap();
        let messages = consumer.messages().await.unwrap().take(count);
        let id = |message: jetstream::Message| -> Uuid {
            message.headers.as_ref().unwrap().get("Nats-Msg-Id").unwrap().as_str().parse().unwrap()
        };
        messages.map(|message| id(message.unwrap())).collect().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn nats_from_every_store() {
    Box::pin(from_every_store(Nats(servers::nats("").await))).await;
}
