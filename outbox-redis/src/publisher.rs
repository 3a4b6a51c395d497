//! The publisher.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use outbox_core::{Message, Outcome, Publisher, Reason};
use redis::aio::ConnectionLike;
use redis::{Cmd, Pipeline};
use tokio::sync::RwLock;
use tokio::task::unconstrained;
use tokio::time::{timeout, timeout_at};

use crate::link::Link;
use crate::mapping::xadd;
use crate::outcome::{self, Reply};
use crate::{RedisConfig, RedisError};

/// Publishes messages to the streams of a Redis server, of a cluster, or of the master that
/// sentinels know.
///
/// Each call has a connection to itself, and leaves it to the next when every command was
/// answered. Otherwise it ends, and with it what was not sent yet.
pub struct RedisPublisher {
    config: RedisConfig,
    idle: Mutex<Vec<Idle>>,
    /// Whether it is open. Read by each call, written by the close that waits for them.
    open: RwLock<bool>,
}

/// A connection that no call uses.
struct Idle {
    link: Link,
    since: Instant,
}

/// More idle connections than this aren't kept.
const MOST_IDLE: usize = 16;

/// A connection that was idle for longer is tried before it is used.
const FRESH: Duration = Duration::from_millis(500);

impl RedisPublisher {
    /// Connects to the server.
    pub async fn connect(config: RedisConfig) -> Result<Self, RedisError> {
        config.check()?;
        let publisher = Self { config, idle: Mutex::default(), open: RwLock::new(true) };
        let link = publisher.link().await?;
        publisher.put_back(link);
        Ok(publisher)
    }

    /// A connection of the caller's own. One that the server has closed meanwhile would make
    /// outcomes unknown that needn't be.
    async fn link(&self) -> Result<Link, RedisError> {
        while let Some(mut idle) = self.take() {
            if idle.since.elapsed() < FRESH {
                return Ok(idle.link);
            }
            let ping = timeout(self.config.connect_timeout(), idle.link.ping()).await;
            if ping.is_ok_and(|ping| ping.is_ok()) {
                return Ok(idle.link);
            }
            self.forget_idle();
        }
        Link::open(&self.config).await
    }

    fn take(&self) -> Option<Idle> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// They lead to where the one led that has just failed.
    fn forget_idle(&self) {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    fn put_back(&self, link: Link) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(Idle { link, since: Instant::now() });
        }
    }

    /// Returns whether every command was answered by a connection that can be used again.
    async fn send(
        &self,
        link: &mut Link,
        mut commands: Vec<(usize, Cmd)>,
        outcomes: &mut [Outcome],
    ) -> bool {
        let mut answers = FuturesUnordered::new();
        while !commands.is_empty() {
            let rest = commands.split_off(commands.len().min(link.pipeline()));
            let append = append(link.clone(), std::mem::replace(&mut commands, rest));
            // tokio would have one wait for its turn, and those after it would be sent before it.
            answers.push(unconstrained(append));
        }
        let (mut usable, mut stored) = (true, Vec::new());
        while let Some(replies) = answers.next().await {
            for (index, reply) in replies {
                usable &= reply.usable;
                if reply.outcome == Outcome::Delivered && self.config.wait_replicas > 0 {
                    stored.push(index);
                } else {
                    outcomes[index] = reply.outcome;
                }
            }
        }
        if stored.is_empty() {
            return usable;
        }
        let Ok(have) = self.replicated(link).await else { return false };
        if have >= self.config.wait_replicas {
            for index in stored {
                outcomes[index] = Outcome::Delivered;
            }
        }
        usable
    }

    /// How many replicas have all that was written over this connection.
    async fn replicated(&self, link: &mut Link) -> redis::RedisResult<u32> {
        let mut wait = redis::cmd("WAIT");
        wait.arg(self.config.wait_replicas).arg(self.config.wait_ms);
        wait.query_async(link).await
    }
}

#[async_trait]
impl Publisher for RedisPublisher {
    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        let mut commands = Vec::with_capacity(batch.len());
        for (index, message) in batch.iter().enumerate() {
            match xadd(message, &self.config) {
                Ok(command) => commands.push((index, command)),
                Err(reason) => outcomes[index] = Outcome::Rejected(reason),
            }
        }
        if commands.is_empty() {
            return;
        }
        let deadline = deadline.into();
        let begin = async {
            let open = self.open.read().await;
            let link = if *open { self.link().await } else { Err(RedisError::Closed) };
            (open, link)
        };
        let begun = timeout_at(deadline, begin).await;
        let (_going_on, link) = match begun {
            Ok((open, link)) => (Some(open), link),
            Err(_) => (None, Err(RedisError::TimedOut)),
        };
        let mut link = match link {
            Ok(link) => link,
            Err(error) => {
                for (index, _) in commands {
                    outcomes[index] = Outcome::Unavailable(Reason::of(&error));
                }
                return;
            }
        };
        let sent = timeout_at(deadline, self.send(&mut link, commands, outcomes)).await;
        match sent {
            Ok(true) => self.put_back(link),
            Ok(false) => self.forget_idle(),
            // It is late, and may be so with this call alone.
            Err(_) => {}
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        let check = async {
            // Held until the end, so that nothing is put back after the close.
            let open = self.open.read().await;
            if !*open {
                return Err(RedisError::Closed);
            }
            let mut link = self.link().await?;
            link.ping().await.map_err(RedisError::Connect)?;
            self.put_back(link);
            Ok(())
        };
        let checked = timeout(2 * self.config.connect_timeout(), check).await;
        checked.unwrap_or(Err(RedisError::TimedOut)).map_err(|error| Reason::of(&error))
    }

    async fn close(&self) -> Result<(), Reason> {
        // Calls that are under way have deadlines of their own.
        *self.open.write().await = false;
        self.forget_idle();
        Ok(())
    }
}

/// Sends commands as one pipeline; each has a reply of its own, unless the connection is lost.
async fn append(mut link: Link, commands: Vec<(usize, Cmd)>) -> Vec<(usize, Reply)> {
    if let [(index, command)] = &commands[..] {
        return vec![(*index, outcome::of(command.query_async(&mut link).await))];
    }
    let (indices, commands): (Vec<_>, Vec<_>) = commands.into_iter().unzip();
    let mut pipeline = Pipeline::with_capacity(commands.len());
    for command in commands {
        pipeline.add_command(command);
    }
    match link.req_packed_commands(&pipeline, 0, indices.len()).await {
        Ok(values) => {
            let replies = values.into_iter().map(|value| outcome::of(value.extract_error()));
            indices.into_iter().zip(replies).collect()
        }
        Err(error) => {
            let lost = |index| (index, outcome::of(Err(error.clone())));
            indices.into_iter().map(lost).collect()
        }
    }
}

impl fmt::Debug for RedisPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisPublisher").field("config", &self.config).finish_non_exhaustive()
    }
}
