//! Connections that no call uses, and the one that a call has to itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::time::timeout;

use crate::link::Link;
use crate::worker::Worker;
use crate::{RedisConfig, RedisError};

/// A node of a cluster by its address, or else the one server there is.
pub(crate) type Node = Option<Arc<str>>;

pub(crate) struct Pool {
    config: Arc<RedisConfig>,
    worker: Worker,
    idle: Mutex<Vec<Idle>>,
}

struct Idle {
    node: Node,
    link: Link,
    since: Instant,
}

/// A connection of a call's own. What of it isn't sent when this is dropped never is.
pub(crate) struct Lease<'a> {
    pool: &'a Pool,
    node: Node,
    link: Option<Link>,
}

/// More idle connections than this aren't kept.
const MOST_IDLE: usize = 16;

/// A connection that was idle for longer is tried before it is used.
const FRESH: Duration = Duration::from_millis(500);

impl Pool {
    pub(crate) fn new(config: Arc<RedisConfig>) -> Result<Self, RedisError> {
        let worker = Worker::start().map_err(RedisError::Thread)?;
        Ok(Self { config, worker, idle: Mutex::default() })
    }

    /// A connection to a node. One that the server has closed meanwhile would make outcomes
    /// unknown that needn't be.
    pub(crate) async fn lease(&self, node: &Node) -> Result<Lease<'_>, RedisError> {
        while let Some(Idle { link, since, .. }) = self.take(node) {
            let mut lease = self.leased(node, link);
            if since.elapsed() < FRESH {
                return Ok(lease);
            }
            let ping = timeout(self.config.connect_timeout(), lease.link().ping()).await;
            if ping.is_ok_and(|ping| ping.is_ok()) {
                return Ok(lease);
            }
            self.forget(node);
        }
        let (config, address) = (self.config.clone(), node.clone());
        let open = async move { Link::open(&config, address.as_deref()).await };
        Ok(self.leased(node, self.worker.run(Box::pin(open)).await?))
    }

    fn leased(&self, node: &Node, link: Link) -> Lease<'_> {
        Lease { pool: self, node: node.clone(), link: Some(link) }
    }

    pub(crate) fn worker(&self) -> &Worker {
        &self.worker
    }

    fn take(&self, node: &Node) -> Option<Idle> {
        let mut idle = self.idle();
        let newest = idle.iter().rposition(|idle| idle.node == *node)?;
        Some(idle.remove(newest))
    }

    /// They lead to where the one led that has just failed.
    pub(crate) fn forget(&self, node: &Node) {
        self.idle().retain(|idle| idle.node != *node);
    }

    pub(crate) fn forget_all(&self) {
        self.idle().clear();
    }

    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Lease<'_> {
    pub(crate) fn link(&mut self) -> &mut Link {
        self.link.as_mut().expect("it is there until it is put back or dropped")
    }

    /// Leaves it to the next call: everything was answered.
    pub(crate) fn put_back(mut self) {
        let mut idle = self.pool.idle();
        if let Some(link) = self.link.take()
            && idle.len() < MOST_IDLE
        {
            idle.push(Idle { node: self.node.clone(), link, since: Instant::now() });
        }
    }
}

impl Drop for Lease<'_> {
    fn drop(&mut self) {
        if let Some(link) = self.link.take() {
            drop(link);
            self.pool.worker.settle();
        }
    }
}
