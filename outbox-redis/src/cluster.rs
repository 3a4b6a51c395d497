//! Which node of a cluster has which streams.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures::future::select_ok;
use redis::cluster_routing::Slot;
use redis::{Value, from_redis_value_ref};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::link::Link;
use crate::worker::Worker;
use crate::{RedisConfig, RedisError};

/// What is known of the cluster.
pub(crate) struct Cluster {
    slots: Mutex<Arc<Slots>>,
    is_outdated: AtomicBool,
}

/// The nodes that take what is written, by the slots that they serve.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Slots(HashMap<Slot, Arc<str>>);

impl Cluster {
    pub(crate) fn new() -> Self {
        Self { slots: Mutex::default(), is_outdated: AtomicBool::new(true) }
    }

    /// What was said by a node is no longer true, or it doesn't answer.
    pub(crate) fn is_outdated(&self) {
        self.is_outdated.store(true, Ordering::SeqCst);
    }

    pub(crate) async fn slots(
        &self,
        config: &Arc<RedisConfig>,
        worker: &Worker,
    ) -> Result<Arc<Slots>, RedisError> {
        let mut slots = self.slots.lock().await;
        if self.is_outdated.load(Ordering::SeqCst) {
            let (config, nodes) = (config.clone(), slots.nodes());
            let learn = async move { learn(&config, &nodes).await };
            *slots = Arc::new(worker.run(Box::pin(learn)).await?);
            self.is_outdated.store(false, Ordering::SeqCst);
        }
        Ok(slots.clone())
    }
}

/// Asks every node that is known. The first that answers will do, and some may hang.
pub(crate) async fn learn(
    config: &RedisConfig,
    known: &BTreeSet<Arc<str>>,
) -> Result<Slots, RedisError> {
    let named = config.servers.iter().map(String::as_str);
    let nodes: BTreeSet<&str> = known.iter().map(|node| &**node).chain(named).collect();
    let asked = nodes.into_iter().map(|node| Box::pin(ask(config, node)));
    Ok(select_ok(asked).await?.0)
}

async fn ask(config: &RedisConfig, node: &str) -> Result<Slots, RedisError> {
    let mut link = Link::open(config, Some(node)).await?;
    let mut question = redis::cmd("CLUSTER");
    let answer = link.ask(question.arg("SLOTS"));
    let answer = timeout(config.connect_timeout(), answer).await;
    let ranges: Vec<Vec<Value>> =
        answer.map_err(|_| RedisError::TimedOut)?.map_err(RedisError::Connect)?;
    Ok(Slots::of(&ranges, node))
}

impl Slots {
    /// Each range has its first and last slot, and its nodes, the master first. A node that
    /// doesn't know its own host says nothing in its place: it is where it was asked.
    fn of(ranges: &[Vec<Value>], asked: &str) -> Self {
        let mut slots = HashMap::new();
        for range in ranges {
            let [Value::Int(first), Value::Int(last), Value::Array(master), ..] = &range[..] else {
                continue;
            };
            let [host, Value::Int(port), ..] = &master[..] else { continue };
            let host: Option<String> = from_redis_value_ref(host).unwrap_or_default();
            let node: Arc<str> = address(host.as_deref().unwrap_or_default(), *port, asked).into();
            let numbers = (*first..=*last).filter_map(|slot| u16::try_from(slot).ok());
            slots.extend(numbers.filter_map(Slot::new).map(|slot| (slot, node.clone())));
        }
        Self(slots)
    }

    /// The node of a stream; there may be none.
    pub(crate) fn node(&self, stream: &str) -> Option<Arc<str>> {
        self.0.get(&Slot::for_key(stream)).cloned()
    }

    pub(crate) fn nodes(&self) -> BTreeSet<Arc<str>> {
        self.0.values().cloned().collect()
    }
}

fn address(host: &str, port: i64, asked: &str) -> String {
    let own = asked.rsplit_once(':').map_or(asked, |(host, _)| host);
    match host {
        "" => format!("{own}:{port}"),
        host if host.contains(':') => format!("[{host}]:{port}"),
        host => format!("{host}:{port}"),
    }
}

/// Where an error says that a command belongs; `asked` is the node that said so.
pub(crate) fn redirection(target: &str, asked: &str) -> Option<Arc<str>> {
    let (host, port) = target.rsplit_once(':')?;
    Some(address(host, port.parse().ok()?, asked).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nodes_are_known_by_what_one_of_them_says() {
        let answer = "*3\r\n\
            *4\r\n:0\r\n:5460\r\n*3\r\n$9\r\n127.0.0.1\r\n:7000\r\n$1\r\na\r\n\
                *3\r\n$9\r\n127.0.0.1\r\n:7009\r\n$1\r\nr\r\n\
            *3\r\n:5461\r\n:10922\r\n*4\r\n$-1\r\n:7001\r\n$1\r\nb\r\n*0\r\n\
            *3\r\n:10923\r\n:16383\r\n*3\r\n$3\r\n::1\r\n:7002\r\n$1\r\nc\r\n";
        let answer = redis::parse_redis_value(answer.as_bytes()).unwrap();
        let ranges: Vec<Vec<Value>> = redis::from_redis_value(answer).unwrap();
        let slots = Slots::of(&ranges, "h:7005");
        let nodes: Vec<_> = slots.nodes().iter().map(ToString::to_string).collect();
        assert_eq!(nodes, ["127.0.0.1:7000", "[::1]:7002", "h:7001"]);
        // By `CLUSTER KEYSLOT`: 12182, 5061, and 12182 again by what is in braces.
        for (stream, node) in
            [("foo", "[::1]:7002"), ("bar", "127.0.0.1:7000"), ("a{foo}", "[::1]:7002")]
        {
            assert_eq!(slots.node(stream).as_deref(), Some(node), "{stream}");
        }
        assert_eq!(Slots::default().node("foo"), None);
    }

    #[test]
    fn redirections_lead_to_nodes() {
        let to = |target: &str| redirection(target, "h:1").map(|node| node.to_string());
        assert_eq!(to("10.0.0.1:7").as_deref(), Some("10.0.0.1:7"));
        assert_eq!(to("::1:7").as_deref(), Some("[::1]:7"));
        assert_eq!(to(":7").as_deref(), Some("h:7"));
        assert_eq!(to("h:x"), None);
    }
}
