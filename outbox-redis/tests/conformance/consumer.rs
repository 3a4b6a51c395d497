//! A stream, and a consumer that knows nothing of the adapter.

use std::time::{Duration, UNIX_EPOCH};

use outbox_core::{Message, MessageParts};
use outbox_redis::RedisConfig;
use redis::aio::MultiplexedConnection;
use uuid::Uuid;

/// A stream with a random name.
#[derive(Clone)]
pub(crate) struct Stream {
    pub(crate) url: String,
    pub(crate) name: String,
    pub(crate) connection: MultiplexedConnection,
}

/// Waits for what will be so before long.
pub(crate) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    for _ in 0..6_000 {
        if is_so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("it is never so that {what}");
}

type Fields = Vec<Vec<u8>>;

impl Stream {
    /// It isn't created yet.
    pub(crate) async fn on(url: &str) -> Self {
        let client = redis::Client::open(url).unwrap();
        let options = redis::AsyncConnectionConfig::new().set_response_timeout(None);
        let connection = client.get_multiplexed_async_connection_with_config(&options).await;
        let (name, connection) = (format!("test-{}", Uuid::now_v7()), connection.unwrap());
        Self { url: url.to_owned(), name, connection }
    }

    pub(crate) fn config(&self) -> RedisConfig {
        self.url.parse().unwrap()
    }

    pub(crate) async fn command<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(word);
        }
        command.query_async(&mut self.connection.clone()).await.unwrap()
    }

    pub(crate) async fn delete(&self) {
        self.command::<()>(&["DEL", &self.name]).await;
    }

    pub(crate) async fn count(&self) -> usize {
        self.command(&["XLEN", &self.name]).await
    }

    pub(crate) async fn arrived(&self) -> Vec<Message> {
        let entries: Vec<(String, Fields)> = self.command(&["XRANGE", &self.name, "-", "+"]).await;
        entries.into_iter().map(|(_, fields)| parse(&self.name, &fields)).collect()
    }
}

pub(crate) fn parse(stream: &str, fields: &Fields) -> Message {
    let pairs: Vec<_> = fields.chunks(2).map(|pair| (text(&pair[0]), &pair[1])).collect();
    let field = |name: &str| {
        let mut found = pairs.iter().filter(|(field, _)| field == name).map(|(_, value)| *value);
        let first = found.next();
        assert!(found.next().is_none(), "{name} is there once");
        first
    };
    let part = |name: &str| field(name).map(|value| text(value));
    let headers = pairs.iter().filter(|(name, _)| !name.starts_with("outbox-"));
    let micros = part("outbox-created-at").unwrap().parse().unwrap();
    Message::restore(MessageParts {
        id: part("outbox-id").unwrap().parse().unwrap(),
        topic: stream.into(),
        key: part("outbox-key").map(Into::into),
        message_type: part("outbox-type").map(Into::into),
        content_type: part("outbox-content-type").unwrap().into(),
        payload: field("outbox-payload").unwrap().clone().into(),
        headers: headers.map(|(name, value)| (name.clone(), text(value))).collect(),
        created_at: UNIX_EPOCH + Duration::from_micros(micros),
    })
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}
