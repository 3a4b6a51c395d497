//! Who picks one adapter gets its client, and no other.

use std::collections::BTreeSet;

use anyhow::Result;

use crate::process;

/// A package with some of its features, and the clients that it may bring along.
const TREES: [(&str, &str, &[&str]); 27] = [
    ("outbox-core", "tokio,broker", &[]),
    ("outbox-core", "opentelemetry", &["opentelemetry", "tracing-opentelemetry"]),
    ("outbox-derive", "", &[]),
    ("outbox-sql", "", &[]),
    ("outbox-file", "", &[]),
    ("outbox-kafka", "", &["rdkafka"]),
    ("outbox-nats", "", &["async-nats"]),
    ("outbox-rabbitmq", "", &["lapin"]),
    ("outbox-redis", "", &["redis"]),
    ("outbox-sqs", "", &["aws-sdk-sqs"]),
    ("outbox-sqlx", "postgres", &["sqlx", "sqlx-postgres"]),
    ("outbox-sqlx", "mysql", &["sqlx", "sqlx-mysql"]),
    ("outbox-sqlx", "sqlite", &["libsqlite3-sys", "sqlx", "sqlx-sqlite"]),
    ("outbox-diesel", "postgres,bb8,deadpool", &["diesel", "tokio-postgres"]),
    ("outbox-diesel", "mysql", &["diesel", "mysql_async"]),
    ("outbox-diesel", "sqlite", &["diesel", "libsqlite3-sys"]),
    ("outbox-diesel", "sync-postgres", &["diesel", "pq-sys"]),
    ("outbox-diesel", "sync-mysql", &["diesel", "mysqlclient-sys"]),
    ("outbox-seaorm", "postgres", &["sea-orm", "sqlx", "sqlx-postgres"]),
    ("outbox-seaorm", "mysql,entities", &["sea-orm", "sqlx", "sqlx-mysql"]),
    ("outbox-seaorm", "sqlite,migration", &["libsqlite3-sys", "sea-orm", "sqlx", "sqlx-sqlite"]),
    ("outbox", "derive,opentelemetry", &["opentelemetry", "tracing-opentelemetry"]),
    ("outbox", "kafka", &["rdkafka"]),
    ("outbox", "nats", &["async-nats"]),
    ("outbox", "rabbitmq", &["lapin"]),
    ("outbox", "redis,file", &["redis"]),
    ("outbox", "sqs,sqlx-postgres", &["aws-sdk-sqs", "sqlx", "sqlx-postgres"]),
];

const CLIENTS: [&str; 18] = [
    "async-nats",
    "aws-sdk-sqs",
    "diesel",
    "lapin",
    "libsqlite3-sys",
    "mysql_async",
    "mysqlclient-sys",
    "opentelemetry",
    "pq-sys",
    "rdkafka",
    "redis",
    "sea-orm",
    "sqlx",
    "sqlx-mysql",
    "sqlx-postgres",
    "sqlx-sqlite",
    "tokio-postgres",
    "tracing-opentelemetry",
];

pub(super) fn check() -> Vec<String> {
    let complaint =
        |(package, features, allowed): &(&str, &str, &[&str])| match tree(package, features) {
            Ok(tree) => complaint(package, features, allowed, &tree),
            Err(error) => Some(format!("{error:#}")),
        };
    TREES.iter().filter_map(complaint).collect()
}

fn complaint(package: &str, features: &str, allowed: &[&str], tree: &str) -> Option<String> {
    let built: BTreeSet<_> = tree.lines().filter_map(|line| line.split(' ').next()).collect();
    let clients: Vec<_> = CLIENTS.into_iter().filter(|client| built.contains(client)).collect();
    (clients != allowed).then(|| {
        format!(
            "{package} with the features [{features}] is built with {clients:?}, not {allowed:?}"
        )
    })
}

/// The packages that are built, a line each.
fn tree(package: &str, features: &str) -> Result<String> {
    let mut tree = process::cargo();
    tree.args(["tree", "--package", package, "--no-default-features", "--features", features]);
    process::read(tree.args(["--edges", "normal,build", "--prefix", "none", "--format", "{p}"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_too_many_or_too_few_is_seen() {
        let tree = "outbox-nats v0.1.0 (/x)\nasync-nats v0.51.0\nredis v1.0.0 (*)";
        let told = complaint("outbox-nats", "", &["async-nats"], tree).expect("redis is too many");
        assert!(told.contains(r#"is built with ["async-nats", "redis"], not ["async-nats"]"#));
        assert_eq!(complaint("outbox-nats", "", &["async-nats", "redis"], tree), None);
        assert!(complaint("outbox-nats", "", &["async-nats", "lapin", "redis"], tree).is_some());
    }
}
