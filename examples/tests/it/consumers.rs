//! The programs that consume, each with a server of its own. What arrives twice is charged once.

use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::jetstream::{self, stream};
use outbox::{Message, Outcome, connect_publisher};
use outbox_testkit::servers::{self, Server};
use redis::AsyncCommands as _;
use sqlx::SqlitePool;

use crate::run;

/// Publishes three messages, the first of them twice, and consumes them in two runs. Seen to fail
/// where the inbox is not asked: four charges.
async fn charges_once(program: &str, publisher: &str, environment: &[(&str, &str)]) {
    let directory = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}?mode=rwc", directory.path().join("billing.db").display());
    let publisher = connect_publisher(publisher).await.unwrap();
    let message = |order| {
        let message = Message::bytes("orders", format!("{order}"));
        Arc::new(message.content_type("text/plain").key("customer-7").build().unwrap())
    };
    let (first, second, third) = (message(1), message(2), message(3));
    let environment = [&[("DATABASE_URL", &*database)], environment].concat();
    for batch in [vec![first.clone(), second], vec![first, third]] {
        let mut outcomes = vec![Outcome::Unknown; batch.len()];
        publisher.publish(&batch, Instant::now() + Duration::from_mins(1), &mut outcomes).await;
        assert_eq!(outcomes, [Outcome::Delivered, Outcome::Delivered]);
        run(program, &environment);
    }
    let pool = SqlitePool::connect(&database).await.unwrap();
    let charges = sqlx::query_scalar("SELECT order_no FROM charges ORDER BY order_no");
    let charges: Vec<String> = charges.fetch_all(&pool).await.unwrap();
    assert_eq!(charges, ["1", "2", "3"]);
    let (received,): (i64,) =
        sqlx::query_as("SELECT count(*) FROM outbox_inbox").fetch_one(&pool).await.unwrap();
    assert_eq!(received, 3);
}

fn with(server: &Server, options: &str) -> String {
    format!("{}{options}", server.url())
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka() {
    let server = servers::kafka().await;
    let program = env!("CARGO_BIN_EXE_consume_kafka");
    let servers = server.address().to_string();
    charges_once(program, &with(&server, "?create_topics=true"), &[("KAFKA_SERVERS", &servers)])
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nats() {
    let server = servers::nats("").await;
    let client = async_nats::connect(server.url()).await.unwrap();
    let stream = stream::Config {
        name: "ORDERS".to_owned(),
        subjects: vec!["orders".to_owned()],
        // Or it would recognise what it gets twice within two minutes.
        duplicate_window: Duration::from_millis(100),
        ..Default::default()
    };
    jetstream::new(client).create_stream(stream).await.unwrap();
    let program = env!("CARGO_BIN_EXE_consume_nats");
    charges_once(program, &server.url(), &[("NATS_URL", &server.url())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rabbitmq() {
    let server = servers::rabbitmq("", "").await;
    let program = env!("CARGO_BIN_EXE_consume_rabbitmq");
    let publisher = with(&server, "?declare_queues=quorum");
    charges_once(program, &publisher, &[("AMQP_URL", &server.url())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn redis() {
    let server = servers::redis(&[]).await;
    let program = env!("CARGO_BIN_EXE_consume_redis");
    charges_once(program, &server.url(), &[("REDIS_URL", &server.url())]).await;
}

/// Seen to fail where it is an error: the program ended, and every later run of it, too.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_without_an_id_is_in_nobodys_way() {
    let server = servers::redis(&[]).await;
    let client = redis::Client::open(server.url()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    redis.xadd::<_, _, _, _, ()>("orders", "*", &[("hello", "world")]).await.unwrap();
    let message = Message::bytes("orders", "1").content_type("text/plain").build().unwrap();
    let publisher = connect_publisher(&server.url()).await.unwrap();
    let deadline = Instant::now() + Duration::from_mins(1);
    let mut outcomes = [Outcome::Unknown];
    publisher.publish(&[Arc::new(message)], deadline, &mut outcomes).await;
    assert_eq!(outcomes, [Outcome::Delivered]);

    let directory = tempfile::tempdir().unwrap();
    let database = format!("sqlite:{}?mode=rwc", directory.path().join("billing.db").display());
    let environment = [("DATABASE_URL", &*database), ("REDIS_URL", &server.url())];
    run(env!("CARGO_BIN_EXE_consume_redis"), &environment);
    let pool = SqlitePool::connect(&database).await.unwrap();
    for table in ["charges", "put_aside"] {
        let count = sqlx::AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let count: i64 = sqlx::query_scalar(count).fetch_one(&pool).await.unwrap();
        assert_eq!(count, 1, "{table}");
    }
    let pending: redis::streams::StreamPendingReply =
        redis.xpending("orders", "billing").await.unwrap();
    assert_eq!(pending.count(), 0, "both are acknowledged");
}

#[tokio::test(flavor = "multi_thread")]
async fn sqs() {
    let server = servers::sqs().await;
    let endpoint = format!("http://{}", server.address());
    let environment = [
        ("SQS_QUEUE", "orders"),
        ("AWS_ENDPOINT_URL", &endpoint),
        ("AWS_REGION", "us-east-1"),
        ("AWS_ACCESS_KEY_ID", "test"),
        ("AWS_SECRET_ACCESS_KEY", "test"),
    ];
    let program = env!("CARGO_BIN_EXE_consume_sqs");
    charges_once(program, &with(&server, "&create_queues=true"), &environment).await;
}
