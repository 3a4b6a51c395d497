//! A cluster of three nodes, in which slots move.

use std::process::Command;
use std::time::Duration;

use outbox_core::broker::Tail;
use outbox_core::{Message, Outcome};
use outbox_redis::{RedisConfig, RedisTail};

use crate::consumer::Stream;
use crate::server::Server;
use crate::streams::{connect, message, publish};

struct Cluster(Vec<Server>);

impl Cluster {
    async fn start() -> Option<Self> {
        let mut nodes = Vec::new();
        while nodes.len() < 3 {
            // The bus of the cluster has a port of its own, 10000 higher.
            let port = std::iter::repeat_with(crate::server::free_port).find(|port| *port < 55_000);
            let settings = ["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"];
            nodes.extend(Server::start_on(port?, &settings).await?);
        }
        let mut create = Command::new("redis-cli");
        create.args(["--cluster", "create"]);
        create.args(nodes.iter().map(|node| node.address().to_string()));
        let output = create.args(["--cluster-replicas", "0", "--cluster-yes"]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        for node in &nodes {
            let node = Stream::on(&node.url()).await.unwrap();
            while !node.command::<String>(&["CLUSTER", "INFO"]).await.contains("state:ok") {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        Some(Self(nodes))
    }

    fn config(&self) -> RedisConfig {
        format!("redis-cluster://{}", self.0[0].address()).parse().unwrap()
    }

    async fn nodes(&self) -> Vec<(String, Stream)> {
        let mut nodes = Vec::new();
        for node in &self.0 {
            let node = Stream::on(&node.url()).await.unwrap();
            nodes.push((node.command::<String>(&["CLUSTER", "MYID"]).await, node));
        }
        nodes
    }
}

#[tokio::test]
async fn each_stream_is_on_its_node_also_after_it_moved() {
    let Some(cluster) = Cluster::start().await else { return };
    let publisher = connect(cluster.config()).await;
    let topics: Vec<_> = (0..20).map(|n| format!("topic-{n}")).collect();
    let batch: Vec<Message> = topics.iter().map(|topic| message(topic)).collect();
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 20]);
    let nodes = cluster.nodes().await;
    let mut counts = Vec::new();
    for (_, node) in &nodes {
        counts.push(node.command::<usize>(&["DBSIZE"]).await);
    }
    assert_eq!(counts.iter().sum::<usize>(), 20);
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    // An empty slot changes hands.
    let slot = nodes[0].1.command::<u32>(&["CLUSTER", "KEYSLOT", "fresh"]).await.to_string();
    let mut owner = None;
    for (id, node) in &nodes {
        let slots: String = node.command(&["CLUSTER", "NODES"]).await;
        let own = slots.lines().find(|line| line.starts_with(id.as_str())).unwrap().to_owned();
        let range = own.split(' ').next_back().unwrap().split_once('-').unwrap();
        let range = range.0.parse::<u32>().unwrap()..=range.1.parse().unwrap();
        if range.contains(&slot.parse().unwrap()) {
            owner = Some(id.clone());
        }
    }
    let next = nodes.iter().find(|(id, _)| Some(id) != owner.as_ref()).unwrap().0.clone();
    for (_, node) in &nodes {
        node.command::<()>(&["CLUSTER", "SETSLOT", &slot, "NODE", &next]).await;
    }
    let moved = [message("fresh")];
    let mut outcomes = publish(&publisher, &moved).await;
    let Outcome::Unavailable(reason) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().contains("MOVED"), "{reason}");
    for _ in 0..50 {
        outcomes = publish(&publisher, &moved).await;
        if outcomes == [Outcome::Delivered] {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(outcomes, [Outcome::Delivered]);
}

#[tokio::test]
async fn a_node_that_dies_takes_only_its_streams_with_it() {
    let Some(mut cluster) = Cluster::start().await else { return };
    for node in cluster.nodes().await {
        let (_, node) = node;
        node.command::<()>(&["CONFIG", "SET", "cluster-require-full-coverage", "no"]).await;
    }
    let publisher = connect(cluster.config()).await;
    let batch: Vec<Message> = (0..30).map(|n| message(&format!("topic-{n}"))).collect();
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 30]);
    cluster.0[2].kill();
    let outcomes = publish(&publisher, &batch).await;
    let delivered = outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count();
    assert!(delivered > 0 && delivered < 30, "{outcomes:?}");
    cluster.0[2].restart().await;
    for _ in 0..100 {
        if publish(&publisher, &batch).await == vec![Outcome::Delivered; 30] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it does not find the node again");
}

#[tokio::test]
async fn a_tail_finds_its_node() {
    let Some(cluster) = Cluster::start().await else { return };
    let publisher = connect(cluster.config()).await;
    for topic in ["a", "b", "c", "d"] {
        let mut tail = RedisTail::connect(cluster.config(), topic).await.unwrap();
        let sent = message(topic);
        assert_eq!(publish(&publisher, std::slice::from_ref(&sent)).await, [Outcome::Delivered]);
        assert_eq!(tail.next().await.unwrap().id(), sent.id());
    }
}
