//! Stores with publishers.

use std::env;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use outbox::sqlx::{Database, Identifier, Names, Outbox};
use outbox::{Admin as _, CancellationToken, Ending, Message, Relay, RelayConfig, StoreUrl};
use outbox_testkit::history::{Bounds, History};
use sqlx::{Executor, MySql, Pool, Postgres, Sqlite};
use tempfile::TempDir;
use uuid::Uuid;

const TRANSACTIONS: u64 = 500;
const PER_TRANSACTION: u64 = 4;
const WRITERS: u64 = 4;
const KEYS: u64 = 25;

#[tokio::test(flavor = "multi_thread")]
async fn sqlite_to_file() {
    let directory = tempfile::tempdir().unwrap();
    let url = format!("sqlite:{}", directory.path().join("test.db").display());
    url.parse::<StoreUrl>().unwrap().migrate(16).await.unwrap();
    let pool = Pool::<Sqlite>::connect(&url).await.unwrap();
    run(&pool, &pool, Names::default(), &directory, &Calm).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_to_file() {
    let default = "postgres://outbox:outbox@127.0.0.1:54315/outbox";
    let (pool, schema) = server::<Postgres>("OUTBOX_TEST_POSTGRES", default).await;
    in_schema(&pool, &pool, &schema, &Calm).await;
    let drop = format!("DROP SCHEMA \"{schema}\" CASCADE");
    pool.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn mariadb_to_file() {
    let default = "mysql://outbox:outbox@127.0.0.1:33061/outbox";
    let (pool, schema) = server::<MySql>("OUTBOX_TEST_MARIADB", default).await;
    in_schema(&pool, &pool, &schema, &Calm).await;
    let drop = format!("DROP DATABASE `{schema}`");
    pool.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
}

/// FAILURES rows 16 and 27: every connection of the relays is cut, again and again, in the middle of
/// what they do.
#[tokio::test(flavor = "multi_thread")]
async fn postgres_cuts_every_connection_of_the_relays() {
    let default = "postgres://outbox:outbox@127.0.0.1:54315/outbox";
    let (pool, schema) = server::<Postgres>("OUTBOX_TEST_POSTGRES", default).await;
    let options = pool.connect_options().as_ref().clone().application_name(schema.as_str());
    let relays = Pool::<Postgres>::connect_with(options).await.unwrap();
    let cuts = Cuts { pool: pool.clone(), name: schema.to_string(), count: AtomicU64::new(0) };
    in_schema(&pool, &relays, &schema, &cuts).await;
    assert!(cuts.count.load(Ordering::Relaxed) > 5, "hardly a connection was cut");
    let drop = format!("DROP SCHEMA \"{schema}\" CASCADE");
    pool.execute(sqlx::AssertSqlSafe(drop)).await.unwrap();
}

/// What happens to the relays while the writers write.
trait Disturbance: Sync {
    /// Goes on until it is dropped.
    fn go_on(&self) -> impl Future<Output = ()> + Send;

    /// The duplicates that it explains.
    fn bounds(&self) -> Bounds;
}

struct Calm;

impl Disturbance for Calm {
    async fn go_on(&self) {
        std::future::pending::<()>().await;
    }

    fn bounds(&self) -> Bounds {
        Bounds::NO_FAULTS
    }
}

/// Ends all backends of that application name.
struct Cuts {
    pool: Pool<Postgres>,
    name: String,
    count: AtomicU64,
}

impl Disturbance for Cuts {
    async fn go_on(&self) {
        loop {
            tokio::time::sleep(Duration::from_millis(40)).await;
            let cut: i64 = sqlx::query_scalar(
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
                 WHERE application_name = $1",
            )
            .bind(&self.name)
            .fetch_one(&self.pool)
            .await
            .unwrap();
            self.count.fetch_add(u64::try_from(cut).unwrap(), Ordering::Relaxed);
        }
    }

    fn bounds(&self) -> Bounds {
        let window = RelayConfig::default().window_messages as u64;
        Bounds { window, disturbances: self.count.load(Ordering::Relaxed), unknown: 0 }
    }
}

/// A server that isn't there fails the test: one that is left out looks as if it had passed.
async fn server<DB: Database>(variable: &str, default: &str) -> (Pool<DB>, Identifier) {
    let url = env::var(variable).unwrap_or_else(|_| default.to_owned());
    let pool = Pool::<DB>::connect(&url).await.unwrap_or_else(|error| {
        let name = DB::NAME;
        panic!("this test needs {name} ({variable}): run `cargo xtask services up` ({error})")
    });
    let schema = format!("t_{}", Uuid::now_v7().simple());
    (pool, Identifier::new(&schema).unwrap())
}

async fn in_schema<DB: Database>(
    pool: &Pool<DB>,
    relays: &Pool<DB>,
    schema: &Identifier,
    disturbance: &impl Disturbance,
) {
    let names = Names { schema: Some(schema.clone()), ..Names::default() };
    Outbox::builder().names(names.clone()).migrate(pool).await.unwrap();
    run(pool, relays, names, &tempfile::tempdir().unwrap(), disturbance).await;
}

/// Writers commit and roll back while two relays publish to one file; then the file is judged.
async fn run<DB: Database>(
    pool: &Pool<DB>,
    relay_pool: &Pool<DB>,
    names: Names,
    directory: &TempDir,
    disturbance: &impl Disturbance,
) {
    let outbox = Outbox::builder().names(names.clone()).open(pool).await.unwrap();
    let relayed = Outbox::builder().names(names).waker(outbox.waker().clone());
    let relayed = relayed.open(relay_pool).await.unwrap();
    let file = directory.path().join("events.jsonl");
    let stop = CancellationToken::new();
    let relays: Vec<_> = [relay(&relayed, &file).await, relay(&relayed, &file).await]
        .into_iter()
        .map(|relay| {
            let stop = stop.clone();
            tokio::spawn(async move { relay.run(stop).await })
        })
        .collect();

    let history = Arc::new(Mutex::new(History::new()));
    let writers: Vec<_> = (0..WRITERS)
        .map(|writer| tokio::spawn(write(outbox.clone(), pool.clone(), history.clone(), writer)))
        .collect();
    let written = async {
        for writer in writers {
            writer.await.unwrap();
        }
    };
    tokio::select! {
        () = written => {}
        () = disturbance.go_on() => unreachable!("it goes on until it is dropped"),
    }
    let store = outbox.store().await.unwrap();
    let patience = Instant::now() + Duration::from_mins(1);
    while store.stats().await.unwrap().depth > 0 && Instant::now() < patience {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    stop.cancel();
    for relay in relays {
        assert_eq!(relay.await.unwrap(), Ending::Clean);
    }

    let remaining = store.stats().await.unwrap().depth;
    let mut history = history.lock().unwrap();
    history.remaining(remaining);
    for line in fs::read_to_string(&file).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        history.accepted(line["id"].as_str().unwrap().parse().unwrap());
    }
    let report = history.check(&disturbance.bounds());
    report.assert_passed();
    assert_eq!(report.committed, TRANSACTIONS * PER_TRANSACTION * 4 / 5);
}

async fn relay<DB: Database>(outbox: &Outbox<DB>, file: &Path) -> Relay {
    let url = format!("file:{}?sync=false", file.display());
    let publisher = outbox::connect_publisher(&url).await.unwrap();
    let store = Arc::new(outbox.store().await.unwrap());
    Relay::builder(store, publisher).waker(outbox.waker()).build().unwrap()
}

/// Every fifth transaction rolls back.
async fn write<DB: Database>(
    outbox: Outbox<DB>,
    pool: Pool<DB>,
    history: Arc<Mutex<History>>,
    writer: u64,
) {
    for number in (writer..TRANSACTIONS).step_by(usize::try_from(WRITERS).unwrap()) {
        // A key belongs to one writer, so that the order of its commits is known from outside.
        let key = format!("key-{writer}-{}", number % KEYS);
        let mut tx = outbox.begin(&pool).await.unwrap();
        for event in 0..PER_TRANSACTION {
            let message = Message::json("orders", &(number, event)).key(&key).build().unwrap();
            history.lock().unwrap().inserting(number, &message);
            tx.emit(message).unwrap();
        }
        if number % 5 == 0 {
            tx.rollback().await.unwrap();
            history.lock().unwrap().rolled_back(number);
        } else {
            tx.commit().await.unwrap();
            history.lock().unwrap().committed(number);
        }
    }
}
