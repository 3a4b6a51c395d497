//! Replicas, and sentinels that make one the master.

use std::fs;
use std::process::{Child, Command, Stdio};

use outbox_core::{Message, Outcome, Publisher};
use outbox_redis::{RedisConfig, RedisPublisher};
use outbox_testkit::servers::{Server, free_ports, redis};

use crate::consumer::{Stream, until};
use crate::streams::{connect, is_unavailable, message, publish};

async fn replica_of(master: &Server) -> Server {
    let address = master.address();
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    redis(&["--replicaof", &ip, &port]).await
}

async fn until_in_sync(replica: &Stream) {
    until("the replica follows", async || {
        let state: String = replica.command(&["INFO", "replication"]).await;
        state.contains("master_link_status:up")
    })
    .await;
}

/// FAILURES row 60: what the others don't have goes with the master. Seen to be delivered without
/// `WAIT`.
#[tokio::test]
async fn delivered_can_mean_that_replicas_have_it() {
    let master = redis(&["--repl-diskless-sync-delay", "0"]).await;
    let stream = Stream::on(&master.url()).await;
    let config = RedisConfig { wait_replicas: 1, wait_ms: 500, ..stream.config() };
    let publisher = connect(config).await;
    let batch = [message(&stream.name), message(&stream.name)];
    // Seen to be stored with each attempt.
    for outcome in publish(&publisher, &batch).await {
        let says = "0 replicas keep up, and `wait_replicas` is 1";
        assert_eq!(outcome, Outcome::Unavailable(says.into()), "there is none");
    }
    assert!(publisher.check().await.is_err());
    assert_eq!(stream.count().await, 0);
    let replica = replica_of(&master).await;
    let copy = Stream { name: stream.name.clone(), ..Stream::on(&replica.url()).await };
    until_in_sync(&copy).await;
    until("the replica acknowledges", async || {
        publish(&publisher, &batch).await == vec![Outcome::Delivered; 2]
    })
    .await;
    let there: Vec<_> = copy.arrived().await.iter().map(Message::id).collect();
    assert!(batch.iter().all(|message| there.contains(&message.id())));
    assert_eq!(publisher.check().await, Ok(()));
    replica.pause();
    let before = stream.count().await;
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Unknown; 2], "it does not answer");
    for _ in 0..3 {
        for outcome in publish(&publisher, &batch).await {
            assert!(is_unavailable(&outcome, "0 replicas keep up"), "{outcome:?}");
        }
    }
    assert_eq!(stream.count().await, before + 2, "each is there once more, not with each attempt");
    assert!(publisher.check().await.is_err());
}

#[tokio::test]
async fn a_replica_is_unavailable() {
    let master = redis(&["--repl-diskless-sync-delay", "0"]).await;
    let replica = replica_of(&master).await;
    let publisher = connect(replica.url().parse().unwrap()).await;
    let outcomes = publish(&publisher, &[message("orders")]).await;
    let [Outcome::Unavailable(reason)] = &outcomes[..] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().contains("READONLY"), "{reason}");
}

/// A sentinel alone, which decides alone. Killed when dropped.
struct Sentinel(Child);

impl Sentinel {
    fn start(port: u16, file: &std::path::Path, master: u16) -> Self {
        let config = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\n\
             sentinel down-after-milliseconds main 300\nsentinel failover-timeout main 3000\n"
        );
        fs::write(file, config).unwrap();
        let mut sentinel = Command::new("redis-server");
        sentinel.arg(file).arg("--sentinel").stdout(Stdio::null()).stderr(Stdio::null());
        Self(sentinel.spawn().unwrap())
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Sentinel {
    fn pause(&self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-s", "STOP", &id]).status().unwrap().success());
    }
}

fn by_sentinels(ports: &[u16]) -> RedisConfig {
    let servers: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    format!("redis://{}?sentinel=main", servers.join(",")).parse().unwrap()
}

async fn connect_by_sentinels(ports: &[u16]) -> RedisPublisher {
    let config = by_sentinels(ports);
    let mut publisher = RedisPublisher::connect(config.clone()).await;
    until("the sentinels know the master", async || {
        publisher = RedisPublisher::connect(config.clone()).await;
        publisher.is_ok()
    })
    .await;
    publisher.unwrap()
}

#[tokio::test]
async fn sentinels_lead_to_the_next_master() {
    let mut master = redis(&["--repl-diskless-sync-delay", "0"]).await;
    let replica = replica_of(&master).await;
    let copy = Stream::on(&replica.url()).await;
    until_in_sync(&copy).await;
    let directory = tempfile::tempdir().unwrap();
    let [port] = free_ports();
    let _sentinel = Sentinel::start(port, &directory.path().join("conf"), master.address().port());
    let publisher = connect_by_sentinels(&[port]).await;
    let batch = [message(&copy.name)];
    assert_eq!(publish(&publisher, &batch).await, [Outcome::Delivered]);
    let sentinel = Stream::on(&format!("redis://127.0.0.1:{port}")).await;
    until("the sentinel knows the replica", async || {
        let known: Vec<std::collections::HashMap<String, String>> =
            sentinel.command(&["SENTINEL", "REPLICAS", "main"]).await;
        known.iter().any(|replica| replica["master-link-status"] == "ok")
    })
    .await;
    master.kill();
    until("there is another master", async || {
        publish(&publisher, &batch).await == [Outcome::Delivered]
    })
    .await;
    // Sentinels end the connections to a server that they make the master.
    let copy = Stream { name: copy.name, ..Stream::on(&replica.url()).await };
    assert!(copy.count().await >= 1, "it arrived at what was the replica");
}

#[tokio::test]
async fn a_sentinel_that_hangs_is_passed_over() {
    let master = redis(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let ports = free_ports::<2>();
    let sentinels = ports.map(|port| {
        let file = directory.path().join(port.to_string());
        Sentinel::start(port, &file, master.address().port())
    });
    for port in ports {
        connect_by_sentinels(&[port]).await;
    }
    sentinels[0].pause();
    for _ in 0..10 {
        let publisher = RedisPublisher::connect(by_sentinels(&ports)).await.unwrap();
        assert_eq!(publish(&publisher, &[message("orders")]).await, [Outcome::Delivered]);
    }
}
