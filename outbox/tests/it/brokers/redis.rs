//! Redis Streams.

use std::collections::HashMap;

use outbox_testkit::servers::{self, Server};
use redis::AsyncCommands as _;
use redis::streams::StreamRangeReply;
use uuid::Uuid;

use super::{Broker, Target, from_every_store};

/// It writes every command to its disk before it answers.
struct Redis(Server);

impl Broker for Redis {
    async fn target(&self) -> Target {
        Target { url: self.0.url(), topic: Uuid::now_v7().to_string() }
    }

    async fn restart(&mut self) {
        self.0.restart().await;
    }

    async fn arrived(&self, target: &Target) -> Vec<Uuid> {
        let client = redis::Client::open(&*target.url).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut arrived = Vec::new();
        let mut after = "-".to_owned();
        loop {
            let page: StreamRangeReply =
                connection.xrange_count(&target.topic, &after, "+", 1000).await.unwrap();
            let Some(last) = page.ids.last() else { return arrived };
            after = format!("({}", last.id);
            let id = |fields: &HashMap<String, redis::Value>| -> Uuid {
                let id: String = redis::from_redis_value(fields["outbox-id"].clone()).unwrap();
                id.parse().unwrap()
            };
            arrived.extend(page.ids.iter().map(|entry| id(&entry.map)));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_from_every_store() {
    Box::pin(from_every_store(Redis(servers::redis(&[]).await))).await;
}
