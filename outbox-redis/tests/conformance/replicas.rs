//! Replicas, and sentinels that make one the master.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use outbox_core::{Message, Outcome};
use outbox_redis::{RedisConfig, RedisPublisher};

use crate::consumer::Stream;
use crate::server::{Server, free_port};
use crate::streams::{connect, message, publish};

async fn replica_of(master: &Server) -> Server {
    let address = master.address();
    let (ip, port) = (address.ip().to_string(), address.port().to_string());
    Server::start_with(&["--replicaof", &ip, &port]).await.expect("there is another already")
}

async fn until_in_sync(replica: &Stream) {
    loop {
        let state: String = replica.command(&["INFO", "replication"]).await;
        if state.contains("master_link_status:up") {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn delivered_can_mean_that_replicas_have_it() {
    let Some(master) = Server::start_with(&["--repl-diskless-sync-delay", "0"]).await else {
        return;
    };
    let stream = Stream::on(&master.url()).await.unwrap();
    let config = RedisConfig { wait_replicas: 1, wait_ms: 500, ..stream.config() };
    let publisher = connect(config).await;
    let batch = [message(&stream.name), message(&stream.name)];
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Unknown; 2], "there is none");
    let replica = replica_of(&master).await;
    let copy = Stream { name: stream.name.clone(), ..Stream::on(&replica.url()).await.unwrap() };
    until_in_sync(&copy).await;
    for attempt in 0.. {
        let batch = [message(&stream.name), message(&stream.name)];
        if publish(&publisher, &batch).await == vec![Outcome::Delivered; 2] {
            let there: Vec<_> = copy.arrived().await.iter().map(Message::id).collect();
            assert!(batch.iter().all(|message| there.contains(&message.id())));
            break;
        }
        assert!(attempt < 60, "the replica does not acknowledge");
    }
    replica.pause();
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Unknown; 2], "it does not answer");
}

#[tokio::test]
async fn a_replica_is_unavailable() {
    let Some(master) = Server::start_with(&["--repl-diskless-sync-delay", "0"]).await else {
        return;
    };
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

#[tokio::test]
async fn sentinels_lead_to_the_next_master() {
    let Some(mut master) = Server::start_with(&["--repl-diskless-sync-delay", "0"]).await else {
        return;
    };
    let replica = replica_of(&master).await;
    let copy = Stream::on(&replica.url()).await.unwrap();
    until_in_sync(&copy).await;
    let directory = tempfile::tempdir().unwrap();
    let port = free_port();
    let _sentinel = Sentinel::start(port, &directory.path().join("conf"), master.address().port());
    let url = format!("redis://127.0.0.1:{port}?sentinel=main");
    let publisher = loop {
        match RedisPublisher::connect(url.parse().unwrap()).await {
            Ok(publisher) => break publisher,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    let batch = [message(&copy.name)];
    assert_eq!(publish(&publisher, &batch).await, [Outcome::Delivered]);
    let sentinel = Stream::on(&format!("redis://127.0.0.1:{port}")).await.unwrap();
    loop {
        let known: Vec<std::collections::HashMap<String, String>> =
            sentinel.command(&["SENTINEL", "REPLICAS", "main"]).await;
        if known.iter().any(|replica| replica["master-link-status"] == "ok") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    master.kill();
    while publish(&publisher, &batch).await != [Outcome::Delivered] {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    // Sentinels end the connections to a server that they make the master.
    let copy = Stream { name: copy.name, ..Stream::on(&replica.url()).await.unwrap() };
    assert!(copy.count().await >= 1, "it arrived at what was the replica");
}
