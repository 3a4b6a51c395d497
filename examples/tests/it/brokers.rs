//! The programs for the brokers, each with a server of its own, so that nothing is left of it.

use std::time::Duration;

use outbox::connect_tail;
use outbox_testkit::servers::{self, shared};
use sqlx::{Connection as _, Executor as _, MySqlConnection, PgConnection};
use tempfile::TempDir;
use uuid::Uuid;

use crate::run;

/// An empty database of its own.
async fn postgres() -> String {
    let url = shared("OUTBOX_TEST_POSTGRES");
    let schema = format!("example_{}", Uuid::now_v7().simple());
    let mut connection = PgConnection::connect(&url).await.unwrap();
    let create = format!("CREATE SCHEMA {schema}");
    connection.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
    format!("{url}?options=-csearch_path%3D{schema}")
}

async fn mariadb() -> String {
    let mut url: url::Url = shared("OUTBOX_TEST_MARIADB").parse().unwrap();
    let database = format!("example_{}", Uuid::now_v7().simple());
    let mut connection = MySqlConnection::connect(url.as_str()).await.unwrap();
    let create = format!("CREATE DATABASE {database}");
    connection.execute(sqlx::AssertSqlSafe(create)).await.unwrap();
    url.set_path(&database);
    url.into()
}

fn sqlite(directory: &TempDir) -> String {
    format!("sqlite:{}?mode=rwc", directory.path().join("shop.db").display())
}

/// Runs a program once, so that it makes its destination, and sees what a second run publishes.
async fn publishes(program: &str, environment: &[(&str, &str)], tail: &str) {
    run(program, environment);
    let mut tail = connect_tail(tail, "orders").await.unwrap();
    run(program, environment);
    for expected in ["1", "3"] {
        let next = tokio::time::timeout(Duration::from_mins(1), tail.next());
        let message = next.await.expect("a message arrives").unwrap();
        assert_eq!(message.payload(), expected.as_bytes());
        assert_eq!(
            (message.key(), message.message_type()),
            (Some("customer-7"), Some("order.placed"))
        );
    }
}

async fn swaps(url: &str, options: &str) {
    let url = format!("{url}{options}");
    publishes(env!("CARGO_BIN_EXE_swap-broker"), &[("OUTBOX_BROKER", &url)], &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka() {
    let server = servers::kafka().await;
    let environment = [("DATABASE_URL", &*postgres().await), ("KAFKA_URL", &server.url())];
    publishes(env!("CARGO_BIN_EXE_postgres_to_kafka"), &environment, &server.url()).await;
    swaps(&server.url(), "?create_topics=true&destination=swapped.{topic}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats() {
    let server = servers::nats("").await;
    let environment = [("DATABASE_URL", &*postgres().await), ("NATS_URL", &server.url())];
    let tail = format!("{}?destination=shop.{{topic}}", server.url());
    publishes(env!("CARGO_BIN_EXE_postgres_to_nats"), &environment, &tail).await;
    swaps(&server.url(), "?create_stream=ORDERS&subjects=orders").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq() {
    let server = servers::rabbitmq("", "").await;
    let environment = [("DATABASE_URL", &*mariadb().await), ("AMQP_URL", &server.url())];
    let tail = format!("{}?declare_queues=quorum", server.url());
    publishes(env!("CARGO_BIN_EXE_mariadb_to_rabbitmq"), &environment, &tail).await;
    swaps(&server.url(), "?declare_queues=quorum&destination=swapped.{topic}").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sqs() {
    let server = servers::sqs().await;
    let environment = [("DATABASE_URL", &*postgres().await), ("SQS_URL", &server.url())];
    let tail = format!("{}&destination=shop-{{topic}}.fifo", server.url());
    publishes(env!("CARGO_BIN_EXE_postgres_to_sqs"), &environment, &tail).await;
    swaps(&server.url(), "&create_queues=true&destination=swapped-{topic}.fifo").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    let server = servers::redis(&[]).await;
    let directory = tempfile::tempdir().unwrap();
    let environment = [("DATABASE_URL", &*sqlite(&directory)), ("REDIS_URL", &server.url())];
    publishes(env!("CARGO_BIN_EXE_sqlite_to_redis"), &environment, &server.url()).await;
    swaps(&server.url(), "?destination=swapped.{topic}").await;
}
