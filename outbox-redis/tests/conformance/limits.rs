//! What Redis doesn't take, for now or ever.

use std::fs;

use outbox_core::{Message, Outcome};
use outbox_redis::RedisConfig;
use outbox_testkit::servers::redis;

use crate::consumer::{Stream, until};
use crate::streams::{connect, is_unavailable, message, of_size, publish};

const MB: usize = 1024 * 1024;

#[tokio::test]
async fn the_largest_message_is_taken_and_a_larger_one_rejected_alone() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let limit = of_size(&stream.name, MB).size();
    let publisher = connect(RedisConfig { max_message_bytes: limit, ..stream.config() }).await;
    let batch = [MB, MB + 1, 1].map(|size| of_size(&stream.name, size));
    let outcomes = publish(&publisher, &batch).await;
    let Outcome::Rejected(reason) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().contains("`max_message_bytes`"), "{reason}");
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
}

/// FAILURES row 49. Seen to cost the connection, and what came after it on it.
#[tokio::test]
async fn a_part_that_the_server_does_not_take_is_rejected_alone() {
    let server = redis(&["--proto-max-bulk-len", "1mb"]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch = [MB, MB + 1, 1].map(|size| of_size(&stream.name, size));
    let outcomes = publish(&publisher, &batch).await;
    let Outcome::Rejected(reason) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().contains("has 1048577 bytes"), "{reason}");
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2]);
    assert_eq!(stream.count().await, 2);
    // What the server allows later isn't rejected for what it didn't allow before.
    stream.command::<()>(&["CONFIG", "SET", "proto-max-bulk-len", "2mb"]).await;
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 3]);
}

/// Whoever may not ask learns it from the message.
#[tokio::test]
async fn where_the_limit_is_secret_a_message_that_is_too_large_fails() {
    let user = ["--user", "relay", "on", ">pw", "~*", "+xadd"];
    let server = redis(&[&user[..], &["--proto-max-bulk-len", "1mb"]].concat()).await;
    let url = server.url().replace("://", "://relay:pw@");
    let publisher = connect(url.parse().unwrap()).await;
    let outcomes = publish(&publisher, &[message("orders"), of_size("orders", MB + 1)]).await;
    assert!(!matches!(outcomes[1], Outcome::Delivered | Outcome::Rejected(_)), "{outcomes:?}");
    assert_eq!(publish(&publisher, &[message("orders")]).await, [Outcome::Delivered]);
}

#[tokio::test]
async fn without_memory_the_server_is_unavailable() {
    let server = redis(&[]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    stream.command::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let batch = [message(&stream.name), message(&stream.name)];
    for outcome in publish(&publisher, &batch).await {
        assert!(is_unavailable(&outcome, "OOM command not allowed"), "{outcome:?}");
    }
    stream.command::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 2]);
}

#[tokio::test]
async fn without_the_replicas_that_it_wants_the_server_is_unavailable() {
    let server = redis(&["--min-replicas-to-write", "1"]).await;
    let publisher = connect(server.url().parse().unwrap()).await;
    let outcomes = publish(&publisher, &[message("orders")]).await;
    assert!(is_unavailable(&outcomes[0], "NOREPLICAS"), "{outcomes:?}");
}

#[tokio::test]
async fn without_its_disk_the_server_is_unavailable() {
    let server = redis(&["--save", "3600 1", "--dbfilename", "taken"]).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    assert_eq!(publish(&publisher, &[message(&stream.name)]).await, [Outcome::Delivered]);
    fs::create_dir(server.directory().join("taken")).unwrap();
    stream.command::<String>(&["BGSAVE"]).await;
    until("it could not save", async || {
        stream.command::<String>(&["INFO"]).await.contains("rdb_last_bgsave_status:err")
    })
    .await;
    let outcomes = publish(&publisher, &[message(&stream.name)]).await;
    assert!(is_unavailable(&outcomes[0], "MISCONF"), "{outcomes:?}");
}

#[tokio::test]
async fn a_server_that_loads_is_unavailable() {
    // When it starts again each key takes some time, and it answers in between.
    let slow = ["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"];
    let mut server = redis(&[&["--appendonly", "no"], &slow[..]].concat()).await;
    let stream = Stream::on(&server.url()).await;
    let publisher = connect(stream.config()).await;
    let batch: Vec<_> = (0..300).map(|n| message(&format!("topic-{n}"))).collect();
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 300]);
    stream.command::<()>(&["SAVE"]).await;
    server.kill();
    let loading = async {
        until("it says that it loads", async || {
            let outcomes = publish(&publisher, &batch[..1]).await;
            assert_ne!(outcomes, [Outcome::Delivered], "it did not load");
            is_unavailable(&outcomes[0], "Redis is loading")
        })
        .await;
    };
    tokio::join!(server.start_again(), loading);
    assert_eq!(publish(&publisher, &batch[..1]).await, [Outcome::Delivered]);
}

/// Nothing that we know of blames a message. Seen to be counted as its failure.
#[tokio::test]
async fn an_error_that_is_unknown_is_the_servers() {
    let server = redis(&["--rename-command", "XADD", "APPEND-ENTRY"]).await;
    let publisher = connect(server.url().parse().unwrap()).await;
    let secret = Message::bytes("orders", "canary").key("canary").build().unwrap();
    let outcomes = publish(&publisher, &[secret]).await;
    assert!(is_unavailable(&outcomes[0], "unknown command"), "{outcomes:?}");
    assert!(!format!("{outcomes:?}").contains("canary"), "{outcomes:?}");
}
