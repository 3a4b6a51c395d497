//! Redis Streams.

use std::collections::HashMap;

use async_trait::async_trait;
use redis::AsyncCommands as _;
use redis::aio::MultiplexedConnection;
use redis::streams::StreamRangeReply;
use uuid::Uuid;

use super::Consumer;

/// A server by its URL. Nothing is added to a key that holds something that is no stream.
#[derive(Debug)]
pub struct Redis(pub String);

impl Redis {
    async fn connection(&self) -> MultiplexedConnection {
        let client = redis::Client::open(&*self.0).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
    }
}

#[async_trait]
impl Consumer for Redis {
    /// Adding to a stream makes it.
    async fn create(&self, _: &str) {}

    async fn refuse(&self, topic: &str) {
        self.connection().await.set::<_, _, ()>(topic, "no stream").await.unwrap();
    }

    async fn admit(&self, topic: &str) {
        self.connection().await.del::<_, ()>(topic).await.unwrap();
    }

    async fn arrived(&self, topic: &str) -> Vec<Uuid> {
        let mut connection = self.connection().await;
        let mut arrived = Vec::new();
        let mut after = "-".to_owned();
        loop {
            let page: StreamRangeReply =
                connection.xrange_count(topic, &after, "+", 1000).await.unwrap();
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
