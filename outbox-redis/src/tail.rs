//! Reading what arrives.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::broker::Tail;
use outbox_core::{Message, Reason};
use redis::from_redis_value;
use tokio::time::timeout;

use crate::cluster::learn;
use crate::link::Link;
use crate::mapping::{received, stream};
use crate::{RedisConfig, RedisError};

/// Reads a topic from its stream, from now on, by `XREAD`: no consumer group knows of it.
pub struct RedisTail {
    link: Link,
    /// A server that says nothing for so long is gone.
    patience: Duration,
    topic: String,
    stream: String,
    /// The id of the last entry that was read.
    last: String,
    read: VecDeque<Message>,
}

/// How long the server waits for entries before it says that there are none.
const BLOCK_MS: u64 = 1000;

type Entries = Vec<(String, Vec<Vec<u8>>)>;

impl RedisTail {
    /// Connects, and reads `topic` from now on.
    pub async fn connect(config: RedisConfig, topic: &str) -> Result<Self, RedisError> {
        config.check()?;
        let stream = stream(&config, topic).map_err(RedisError::Destination)?.into_owned();
        let node = if config.cluster {
            let slots = learn(&config, &BTreeSet::new()).await?;
            Some(slots.node(&stream).ok_or_else(|| RedisError::NoNode(stream.clone()))?)
        } else {
            None
        };
        let mut link = Link::open(&config, node.as_deref()).await?;
        // `$` would be another place each time.
        let mut last = redis::cmd("XREVRANGE");
        last.arg(&stream).arg("+").arg("-").arg("COUNT").arg(1);
        let last: Entries = link.ask(&last).await.map_err(RedisError::Connect)?;
        let last = last.into_iter().next().map_or("0-0".to_owned(), |(id, _)| id);
        let patience = Duration::from_millis(BLOCK_MS) + config.connect_timeout();
        let (topic, read) = (topic.to_owned(), VecDeque::new());
        Ok(Self { link, patience, topic, stream, last, read })
    }
}

#[async_trait]
impl Tail for RedisTail {
    async fn next(&mut self) -> Result<Message, Reason> {
        loop {
            if let Some(message) = self.read.pop_front() {
                return Ok(message);
            }
            let mut read = redis::cmd("XREAD");
            read.arg("COUNT").arg(100).arg("BLOCK").arg(BLOCK_MS);
            read.arg("STREAMS").arg(&self.stream).arg(&self.last);
            let streams = timeout(self.patience, self.link.ask(&read)).await;
            let streams = streams.map_err(|_| Reason::of(&RedisError::TimedOut))?;
            let streams: Option<Vec<(String, redis::Value)>> =
                streams.map_err(|error| Reason::of(&error))?;
            for (_, entries) in streams.into_iter().flatten() {
                let entries: Entries = from_redis_value(entries).map_err(|e| Reason::of(&e))?;
                for (id, fields) in entries {
                    self.last = id;
                    self.read.push_back(received(&self.topic, fields));
                }
            }
        }
    }
}

impl fmt::Debug for RedisTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisTail").field("stream", &self.stream).finish_non_exhaustive()
    }
}
