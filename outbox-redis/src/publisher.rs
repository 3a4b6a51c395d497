//! The publisher.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use futures::future::try_join_all;
use outbox_core::{Message, Outcome, Publisher, Reason};
use tokio::sync::RwLock;
use tokio::time::{timeout, timeout_at};

use crate::call::{Call, Refusal, enough_replicas};
use crate::cluster::Cluster;
use crate::pool::{Node, Pool};
use crate::{RedisConfig, RedisError};

/// Publishes messages to the streams of a Redis server, of a cluster, or of the master that
/// sentinels know.
///
/// Each call has a connection to itself, in a cluster one to each node, and leaves it to the next
/// when every command was answered. Otherwise it ends, and with it what was not sent yet. All of
/// them run on one thread of the publisher's own.
pub struct RedisPublisher {
    config: Arc<RedisConfig>,
    pool: Pool,
    cluster: Option<Cluster>,
    /// Whether it is open. Read by each call, written by the close, which waits for them.
    open: RwLock<bool>,
}

impl RedisPublisher {
    /// Connects to the server, or to the first node of the cluster that answers.
    pub async fn connect(config: RedisConfig) -> Result<Self, RedisError> {
        config.check()?;
        let config = Arc::new(config);
        let pool = Pool::new(config.clone())?;
        let cluster = config.cluster.then(Cluster::new);
        let publisher = Self { config, pool, cluster, open: RwLock::new(true) };
        let nodes = publisher.nodes().await?;
        if publisher.cluster.is_none() {
            for node in &nodes {
                publisher.pool.lease(node).await?.put_back();
            }
        }
        Ok(publisher)
    }

    /// All that streams can be on.
    async fn nodes(&self) -> Result<Vec<Node>, RedisError> {
        let Some(cluster) = &self.cluster else { return Ok(vec![None]) };
        let slots = cluster.slots(&self.config, self.pool.worker()).await?;
        Ok(slots.nodes().into_iter().map(Some).collect())
    }

    async fn check_node(&self, node: Node) -> Result<(), Reason> {
        let mut lease = self.pool.lease(&node).await.map_err(|error| Reason::of(&error))?;
        let answer = match lease.link().ping().await {
            Ok(()) => enough_replicas(lease.link(), &self.config).await,
            Err(error) => Err(Refusal::unusable(&error)),
        };
        if answer.as_ref().err().is_none_or(|refusal| refusal.usable) {
            lease.put_back();
        } else {
            self.pool.forget(&node);
        }
        answer.map_err(|refusal| refusal.reason)
    }
}

#[async_trait]
impl Publisher for RedisPublisher {
    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        // A close that waits for others has closed for this one.
        let open = self.open.try_read();
        if !open.as_ref().is_ok_and(|open| **open) {
            return outcomes.fill(Outcome::Unavailable(Reason::of(&RedisError::Closed)));
        }
        let shared = (&self.config, &self.pool, self.cluster.as_ref());
        let call = Call::new(shared, deadline, batch, outcomes);
        // Each outcome is written as it becomes known.
        let _ = timeout_at(deadline.into(), call.run()).await;
    }

    async fn check(&self) -> Result<(), Reason> {
        let check = async {
            // Held until the end, so that nothing is put back after the close.
            let open = self.open.try_read();
            if !open.as_ref().is_ok_and(|open| **open) {
                return Err(Reason::of(&RedisError::Closed));
            }
            let nodes = self.nodes().await.map_err(|error| Reason::of(&error))?;
            let answers = nodes.into_iter().map(|node| self.check_node(node));
            let checked = try_join_all(answers).await;
            if let (Err(_), Some(cluster)) = (&checked, &self.cluster) {
                cluster.is_outdated();
            }
            checked.map(drop)
        };
        let checked = timeout(2 * self.config.connect_timeout(), check).await;
        checked.unwrap_or_else(|_| Err(Reason::of(&RedisError::TimedOut)))
    }

    async fn close(&self) -> Result<(), Reason> {
        // Calls that are under way have deadlines of their own.
        *self.open.write().await = false;
        self.pool.forget_all();
        Ok(())
    }
}

impl fmt::Debug for RedisPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisPublisher").field("config", &self.config).finish_non_exhaustive()
    }
}
