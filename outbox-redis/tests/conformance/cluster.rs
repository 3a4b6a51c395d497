//! A cluster of three nodes, in which slots move.

use std::process::Command;
use std::time::Duration;

use outbox_core::broker::Tail;
use outbox_core::{Message, Outcome, Publisher};
use outbox_redis::{RedisConfig, RedisPublisher, RedisTail};
use outbox_testkit::servers::{Server, free_ports, redis_on};

use crate::consumer::{Stream, until};
use crate::streams::{connect, message, publish, publish_within};

struct Cluster(Vec<Server>);

/// A node by its id, and what can be asked there.
type Node = (String, Stream);

impl Cluster {
    async fn start() -> Self {
        Self::start_with(None).await
    }

    async fn start_with(password: Option<&str>) -> Self {
        let mut nodes = Vec::new();
        for _ in 0..3 {
            // The bus of the cluster has a port of its own, 10000 higher.
            let port =
                || std::iter::repeat_with(|| free_ports::<1>()[0]).find(|port| *port < 55_000);
            let own = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
            let coverage = ["--cluster-require-full-coverage", "no"];
            let secret =
                password.map(|password| ["--requirepass", password, "--masterauth", password]);
            let settings = [&own[..], &coverage, secret.as_slice().as_flattened()].concat();
            nodes.push(redis_on(|| port().unwrap(), &settings).await);
        }
        let mut create = Command::new("redis-cli");
        create.envs(password.map(|password| ("REDISCLI_AUTH", password)));
        create.args(["--cluster", "create"]);
        create.args(nodes.iter().map(|node| node.address().to_string()));
        let output = create.args(["--cluster-replicas", "0", "--cluster-yes"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let cluster = Self(nodes);
        for (_, node) in cluster.nodes(password).await {
            until("it is a cluster", async || {
                node.command::<String>(&["CLUSTER", "INFO"]).await.contains("state:ok")
            })
            .await;
        }
        cluster
    }

    fn config(&self) -> RedisConfig {
        format!("redis-cluster://{}", self.0[0].address()).parse().unwrap()
    }

    async fn nodes(&self, password: Option<&str>) -> Vec<Node> {
        let mut nodes = Vec::new();
        let account = password.map(|password| format!(":{password}@")).unwrap_or_default();
        for node in &self.0 {
            let node = Stream::on(&node.url().replace("://", &format!("://{account}"))).await;
            nodes.push((node.command::<String>(&["CLUSTER", "MYID"]).await, node));
        }
        nodes
    }
}

/// The node of a stream, and another.
async fn owner<'a>(nodes: &'a [Node], slot: &str) -> (&'a Node, &'a Node) {
    let slot: u32 = slot.parse().unwrap();
    for node in nodes {
        let all: String = node.1.command(&["CLUSTER", "NODES"]).await;
        let own = all.lines().find(|line| line.starts_with(&node.0)).unwrap();
        let (first, last) = own.split(' ').next_back().unwrap().split_once('-').unwrap();
        if (first.parse().unwrap()..=last.parse().unwrap()).contains(&slot) {
            return (node, nodes.iter().find(|other| other.0 != node.0).unwrap());
        }
    }
    panic!("nobody has slot {slot}");
}

fn messages(count: usize) -> Vec<Message> {
    (0..count).map(|n| message(&format!("topic-{n}"))).collect()
}

#[tokio::test]
async fn each_stream_is_on_its_node() {
    let cluster = Cluster::start().await;
    let publisher = connect(cluster.config()).await;
    assert_eq!(publish(&publisher, &messages(20)).await, vec![Outcome::Delivered; 20]);
    assert_eq!(publisher.check().await, Ok(()));
    let mut counts = Vec::new();
    for (_, node) in &cluster.nodes(None).await {
        counts.push(node.command::<usize>(&["DBSIZE"]).await);
    }
    assert_eq!(counts.iter().sum::<usize>(), 20);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

/// Seen to be unavailable, and never available again, when redirections were not followed and
/// the client that learned from them was thrown away.
#[tokio::test]
async fn a_stream_is_followed_when_it_moves() {
    let cluster = Cluster::start().await;
    let publisher = connect(cluster.config()).await;
    assert_eq!(publish(&publisher, &messages(20)).await, vec![Outcome::Delivered; 20]);
    let nodes = cluster.nodes(None).await;
    let slot = nodes[0].1.command::<u32>(&["CLUSTER", "KEYSLOT", "fresh"]).await.to_string();
    let (from, to) = owner(&nodes, &slot).await;
    // On its way: what isn't there yet is taken by the next one, if it is asked for that.
    to.1.command::<()>(&["CLUSTER", "SETSLOT", &slot, "IMPORTING", &from.0]).await;
    from.1.command::<()>(&["CLUSTER", "SETSLOT", &slot, "MIGRATING", &to.0]).await;
    let batch = [message("fresh"), message("topic-1"), message("fresh")];
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 3]);
    let fresh = Stream { name: "fresh".to_owned(), ..to.1.clone() };
    for (_, node) in &nodes {
        node.command::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &to.0]).await;
    }
    // There: the first node says so, and the next time nobody is asked.
    for _ in 0..3 {
        assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 3]);
    }
    let arrived: Vec<_> = fresh.arrived().await.iter().map(Message::id).collect();
    let ids = [batch[0].id(), batch[2].id()];
    assert_eq!(arrived, ids.repeat(4), "each time once, and in their order");
}

#[tokio::test]
async fn a_node_that_dies_takes_only_its_streams_with_it() {
    let mut cluster = Cluster::start().await;
    let publisher = connect(cluster.config()).await;
    let batch = messages(30);
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 30]);
    cluster.0[2].kill();
    for _ in 0..3 {
        let outcomes = publish(&publisher, &batch).await;
        let delivered = outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count();
        assert!(delivered > 0 && delivered < 30, "{outcomes:?}");
    }
    assert!(publisher.check().await.is_err());
    cluster.0[2].restart().await;
    until("it finds the node again", async || {
        publish(&publisher, &batch).await == vec![Outcome::Delivered; 30]
    })
    .await;
}

/// Seen to take every stream with it, as a new connection to the cluster waited for all nodes.
#[tokio::test]
async fn a_node_that_hangs_takes_only_its_streams_with_it() {
    let cluster = Cluster::start().await;
    let config = RedisConfig { connect_timeout_ms: 500, ..cluster.config() };
    let publisher = connect(config.clone()).await;
    let batch = messages(30);
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 30]);
    cluster.0[2].pause();
    let mut others = None;
    for _ in 0..4 {
        let outcomes = publish_within(&publisher, &batch, Duration::from_secs(3)).await;
        let delivered: Vec<_> = outcomes.iter().map(|o| *o == Outcome::Delivered).collect();
        assert!(delivered.contains(&true) && delivered.contains(&false), "{outcomes:?}");
        assert_eq!(others.get_or_insert_with(|| delivered.clone()), &delivered);
    }
    assert!(publisher.check().await.is_err());
    // Who comes now finds the nodes that there are, though it is told of the one that hangs first.
    let server = cluster.0[2].address().to_string();
    let servers = vec![server, cluster.0[0].address().to_string()];
    let late = connect(RedisConfig { servers, ..config }).await;
    let outcomes = publish_within(&late, &batch, Duration::from_secs(3)).await;
    let delivered: Vec<_> = outcomes.iter().map(|o| *o == Outcome::Delivered).collect();
    assert_eq!(others, Some(delivered));
    cluster.0[2].resume();
    until("it finds the node again", async || {
        publish(&publisher, &batch).await == vec![Outcome::Delivered; 30]
    })
    .await;
}

#[tokio::test]
async fn a_cluster_with_a_password_lets_in() {
    let cluster = Cluster::start_with(Some("s3cret")).await;
    let with = |password: &str| -> RedisConfig {
        let node = cluster.0[0].address();
        format!("redis-cluster://:{password}@{node}").parse().unwrap()
    };
    let publisher = connect(with("s3cret")).await;
    assert_eq!(publish(&publisher, &messages(20)).await, vec![Outcome::Delivered; 20]);
    assert_eq!(publisher.check().await, Ok(()));
    let error = RedisPublisher::connect(with("canary")).await.unwrap_err();
    assert!(!error.is_retryable() && !format!("{error:?}").contains("canary"), "{error:?}");
}

#[tokio::test]
async fn a_tail_finds_its_node() {
    let cluster = Cluster::start().await;
    let publisher = connect(cluster.config()).await;
    for topic in ["a", "b", "c", "d"] {
        let mut tail = RedisTail::connect(cluster.config(), topic).await.unwrap();
        let sent = message(topic);
        assert_eq!(publish(&publisher, std::slice::from_ref(&sent)).await, [Outcome::Delivered]);
        assert_eq!(tail.next().await.unwrap().id(), sent.id());
    }
}
