//! One call of `publish`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::StreamExt;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use outbox_core::{Message, Outcome, Reason};
use redis::{Cmd, Pipeline, RedisResult, Value};
use tokio::task::unconstrained;

use crate::cluster::{Cluster, redirection};
use crate::link::Link;
use crate::mapping::{longest, stream, xadd};
use crate::outcome::{self, Reply};
use crate::pool::{Node, Pool};
use crate::{RedisConfig, RedisError};

/// Writes outcomes as they become known. When what [`run`](Self::run) returns is dropped, nothing
/// is sent any more.
pub(crate) struct Call<'a> {
    config: &'a Arc<RedisConfig>,
    pool: &'a Pool,
    cluster: Option<&'a Cluster>,
    deadline: Instant,
    batch: &'a [Arc<Message>],
    outcomes: Mutex<&'a mut [Outcome]>,
    /// Of what is not sent in time.
    late: Outcome,
}

/// A message by its index in the batch.
struct Item {
    index: usize,
    command: Cmd,
    /// Whether the node must be told that the message was sent there by another.
    asking: bool,
}

/// A message that another node has.
struct Moved {
    index: usize,
    node: Arc<str>,
    asking: bool,
}

/// Why nothing is sent over a connection.
pub(crate) struct Refusal {
    pub(crate) reason: Reason,
    /// Whether the connection can be used again.
    pub(crate) usable: bool,
}

type Groups = HashMap<Node, Vec<Item>>;

/// Fewer commands at once cost time, more leave more outcomes unknown when the connection is lost:
/// the client tells nothing of a pipeline before it has all its replies.
const PIPELINE: usize = 128;

impl<'a> Call<'a> {
    pub(crate) fn new(
        (config, pool, cluster): (&'a Arc<RedisConfig>, &'a Pool, Option<&'a Cluster>),
        deadline: Instant,
        batch: &'a [Arc<Message>],
        outcomes: &'a mut [Outcome],
    ) -> Self {
        let late = Outcome::Unavailable(Reason::of(&RedisError::TimedOut));
        Self { config, pool, cluster, deadline, batch, outcomes: Mutex::new(outcomes), late }
    }

    /// Sends all that can be sent, to every node at the same time.
    pub(crate) async fn run(&self) {
        let mut items = Vec::with_capacity(self.batch.len());
        for index in 0..self.batch.len() {
            items.extend(self.item(index, false));
        }
        let groups = self.route(items).await;
        let moved = self.send_to_all(groups).await;
        // A node that says who has a stream has not taken the message. It is followed once.
        let mut groups = Groups::new();
        for Moved { index, node, asking } in moved {
            groups.entry(Some(node)).or_default().extend(self.item(index, asking));
        }
        self.send_to_all(groups).await;
    }

    /// A message that may be sent. Until it is, it is so that no server took it.
    fn item(&self, index: usize, asking: bool) -> Option<Item> {
        let command = xadd(&self.batch[index], self.config);
        let outcome = match &command {
            Ok(_) => self.late.clone(),
            Err(reason) => Outcome::Rejected(reason.clone()),
        };
        self.set(index, outcome);
        Some(Item { index, command: command.ok()?, asking })
    }

    fn set(&self, index: usize, outcome: Outcome) {
        self.outcomes.lock().unwrap_or_else(PoisonError::into_inner)[index] = outcome;
    }

    fn set_all(&self, items: &[Item], outcome: &Outcome) {
        for item in items {
            self.set(item.index, outcome.clone());
        }
    }

    async fn route(&self, items: Vec<Item>) -> Groups {
        let Some(cluster) = self.cluster else { return Groups::from([(None, items)]) };
        let mut groups = Groups::new();
        if items.is_empty() {
            return groups;
        }
        let slots = match cluster.slots(self.config, self.pool.worker()).await {
            Ok(slots) => slots,
            Err(error) => {
                self.set_all(&items, &Outcome::Unavailable(Reason::of(&error)));
                return groups;
            }
        };
        for item in items {
            let stream = stream(self.config, self.batch[item.index].topic()).unwrap_or_default();
            if let Some(node) = slots.node(&stream) {
                groups.entry(Some(node)).or_default().push(item);
            } else {
                let reason = Reason::of(&RedisError::NoNode(stream.into_owned()));
                self.set(item.index, Outcome::Unavailable(reason));
                cluster.is_outdated();
            }
        }
        groups
    }

    async fn send_to_all(&self, groups: Groups) -> Vec<Moved> {
        let sent = groups.into_iter().filter(|(_, items)| !items.is_empty());
        let sent = join_all(sent.map(|(node, items)| self.send_to(node, items))).await;
        sent.into_iter().flatten().collect()
    }

    /// Sends messages to one node, and returns those that it doesn't have.
    async fn send_to(&self, node: Node, mut items: Vec<Item>) -> Vec<Moved> {
        let mut lease = match self.pool.lease(&node).await {
            Ok(lease) => lease,
            Err(error) => {
                self.set_all(&items, &Outcome::Unavailable(Reason::of(&error)));
                self.lost(&node);
                return Vec::new();
            }
        };
        let mut moved = Vec::new();
        let usable = match self.prepare(lease.link(), &mut items).await {
            // Nothing is handed over any more.
            Ok(()) if Instant::now() >= self.deadline => true,
            Ok(()) => {
                self.set_all(&items, &Outcome::Unknown);
                self.send(lease.link(), &node, items, &mut moved).await
            }
            Err(Refusal { reason, usable }) => {
                self.set_all(&items, &Outcome::Unavailable(reason));
                usable
            }
        };
        if usable {
            lease.put_back();
        } else {
            self.lost(&node);
        }
        moved
    }

    /// A node can't be used over the connections that there are, and may no longer be one.
    fn lost(&self, node: &Node) {
        self.pool.forget(node);
        if let Some(cluster) = self.cluster {
            cluster.is_outdated();
        }
    }

    /// Keeps back what would cost its neighbours the connection, and everything if there are too
    /// few replicas: it would be stored, and stored again with each attempt.
    async fn prepare(&self, link: &mut Link, items: &mut Vec<Item>) -> Result<(), Refusal> {
        if items.iter().any(|item| longest(&item.command) > link.longest()) {
            // It may have been changed.
            link.learn_longest().await.map_err(|error| Refusal::unusable(&error))?;
            let most = link.longest();
            for item in items.extract_if(.., |item| longest(&item.command) > most) {
                let says = format!(
                    "a part of the message has {} bytes, and the server's `proto-max-bulk-len` is \
                     {most}",
                    longest(&item.command)
                );
                self.set(item.index, Outcome::Rejected(says.into()));
            }
        }
        enough_replicas(link, self.config).await
    }

    /// Returns whether every command was answered by a connection that can be used again.
    async fn send(
        &self,
        link: &mut Link,
        node: &Node,
        mut items: Vec<Item>,
        moved: &mut Vec<Moved>,
    ) -> bool {
        let mut answers = FuturesUnordered::new();
        while !items.is_empty() {
            let rest = items.split_off(items.len().min(PIPELINE));
            let append = append(link.clone(), std::mem::replace(&mut items, rest));
            // tokio would have one wait for its turn, and those after it would be sent before it.
            answers.push(unconstrained(append));
        }
        let (mut usable, mut stored) = (true, Vec::new());
        while let Some(replies) = answers.next().await {
            for (index, Reply { outcome, usable: so, redirection: to }) in replies {
                usable &= so;
                let asked = node.as_deref().unwrap_or_default();
                if let (Some(to), Some(cluster)) = (to, self.cluster)
                    && let Some(node) = redirection(&to.node, asked)
                {
                    if !to.asking {
                        cluster.is_outdated();
                    }
                    moved.push(Moved { index, node, asking: to.asking });
                }
                if outcome == Outcome::Delivered && self.config.wait_replicas > 0 {
                    stored.push(index);
                } else {
                    self.set(index, outcome);
                }
            }
        }
        if stored.is_empty() {
            return usable;
        }
        let Ok(have) = replicated(link, self.config).await else { return false };
        if have >= self.config.wait_replicas {
            for index in stored {
                self.set(index, Outcome::Delivered);
            }
        }
        usable
    }
}

/// How many replicas have all that was written over this connection.
async fn replicated(link: &mut Link, config: &RedisConfig) -> RedisResult<u32> {
    link.ask(redis::cmd("WAIT").arg(config.wait_replicas).arg(config.wait_ms)).await
}

/// Whether as many replicas as must have a message have what was written before.
pub(crate) async fn enough_replicas(link: &mut Link, config: &RedisConfig) -> Result<(), Refusal> {
    let wanted = config.wait_replicas;
    if wanted == 0 {
        return Ok(());
    }
    let have = replicated(link, config).await.map_err(|error| Refusal::unusable(&error))?;
    if have >= wanted {
        return Ok(());
    }
    let says = format!("{have} replicas keep up, and `wait_replicas` is {wanted}");
    Err(Refusal { reason: says.into(), usable: true })
}

impl Refusal {
    pub(crate) fn unusable(error: &redis::RedisError) -> Self {
        Self { reason: Reason::of(error), usable: false }
    }
}

/// Sends commands as one pipeline; each has a reply of its own, unless the connection is lost.
async fn append(mut link: Link, items: Vec<Item>) -> Vec<(usize, Reply)> {
    if let [Item { index, command, asking: false }] = &items[..] {
        return vec![(*index, outcome::of(link.ask(command).await))];
    }
    let mut pipeline = Pipeline::with_capacity(items.len());
    let mut indices = Vec::with_capacity(items.len());
    for Item { index, command, asking } in items {
        if asking {
            pipeline.add_command(redis::cmd("ASKING"));
            indices.push(None);
        }
        pipeline.add_command(command);
        indices.push(Some(index));
    }
    let replies = match link.ask_all(&pipeline, indices.len()).await {
        Ok(values) => values.into_iter().map(Value::extract_error).collect(),
        Err(error) => vec![Err(error); indices.len()],
    };
    let replies = indices.into_iter().zip(replies);
    replies.filter_map(|(index, reply)| Some((index?, outcome::of(reply)))).collect()
}
