//! What PRODUCERS.md says, as it stands there.

use std::io::Write as _;
use std::process::{Command, Stdio};

use outbox_core::{Message, Partition, StoredRow};
use outbox_sqlx::{Identifier, Names, Outbox, OutboxConfig};
use sqlx::{AssertSqlSafe, MySql, Postgres};
use uuid::Uuid;

use crate::support::{self, Bed, Kind};

pub(crate) const TEXT: &str = include_str!("../../../PRODUCERS.md");

/// The code under that heading.
pub(crate) fn documented(heading: &str) -> &'static str {
    let (_, section) = TEXT.split_once(&format!("\n## {heading}\n")).expect("it has a section");
    let (_, block) = section.split_once("```").expect("with a code block");
    let (_, code) = block.split_once('\n').expect("of several lines");
    code.split_once("```").expect("that ends").0
}

/// Runs a program that reads `input`. A missing one fails the test.
fn run(program: &mut Command, input: &str) {
    let mut child = program
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program:?}: {error}; run `cargo xtask services up`"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let done = child.wait_with_output().unwrap();
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
}

async fn with_orders<DB: Kind>(bed: &Bed<DB>) {
    let orders = bed.beside("orders");
    bed.execute(format!("CREATE TABLE {orders} (id INTEGER PRIMARY KEY, paid INTEGER)")).await;
    bed.execute(format!("INSERT INTO {orders} VALUES (42, 0)")).await;
}

async fn assert_arrived<DB: Kind>(bed: &Bed<DB>) {
    let rows = bed.all().await;
    let [StoredRow { partition, message, defect: None, .. }] = &rows[..] else {
        panic!("{rows:?}")
    };
    assert_eq!(*partition, Partition::of(b"customer-7", 4));
    assert_eq!((message.topic(), message.key()), ("orders", Some("customer-7")));
    assert_eq!(message.message_type(), Some("order.paid"));
    assert_eq!(message.content_type(), "application/json");
    let order: serde_json::Value = serde_json::from_slice(message.payload()).unwrap();
    assert_eq!(order, serde_json::json!({ "order": 42 }));
    assert_eq!(message.headers(), [("tenant".to_owned(), "acme".to_owned())]);
    let paid = format!("SELECT count(*) FROM {} WHERE paid = 1", bed.beside("orders"));
    assert_eq!(DB::number(bed.pool(), paid).await, 1);
}

fn search_path<DB: Kind>(bed: &Bed<DB>) -> String {
    format!("-c search_path={}", bed.place.names.schema.as_ref().unwrap())
}

#[tokio::test]
async fn psql() {
    for bed in [support::postgres().await, support::newest_postgres().await] {
        with_orders(&bed).await;
        let mut psql = Command::new("psql");
        psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-o", "/dev/null", &bed.place.url]);
        run(psql.env("PGOPTIONS", search_path(&bed)), documented("PostgreSQL"));
        assert_arrived(&bed).await;
    }
}

#[tokio::test]
async fn node() {
    let bed = support::postgres().await;
    with_orders(&bed).await;
    let modules = std::env::var("OUTBOX_TEST_NODE_MODULES");
    let modules = modules.unwrap_or("/var/tmp/outbox-services/programs/node_modules".into());
    let mut node = Command::new("node");
    node.args(["-", &bed.place.url]).env("NODE_PATH", modules);
    run(node.env("PGOPTIONS", search_path(&bed)), documented("Node"));
    assert_arrived(&bed).await;
}

#[tokio::test]
async fn mariadb() {
    let bed = support::mariadb().await;
    with_orders(&bed).await;
    let url: url::Url = bed.place.url.parse().unwrap();
    let mut mariadb = Command::new("mariadb");
    mariadb.args(["--protocol=tcp", "--default-character-set=utf8mb4"]);
    mariadb.arg(format!("--host={}", url.host_str().unwrap()));
    mariadb.arg(format!("--port={}", url.port().unwrap()));
    mariadb.arg(format!("--user={}", url.username()));
    mariadb.env("MYSQL_PWD", url.password().unwrap());
    mariadb.arg(bed.place.names.schema.as_ref().unwrap().as_str());
    run(&mut mariadb, documented("MySQL and MariaDB"));
    assert_arrived(&bed).await;
}

#[tokio::test]
async fn sqlite3() {
    let bed = support::sqlite().await;
    with_orders(&bed).await;
    // Sixteen partitions are in the document, four here.
    assert_eq!(Partition::of(b"customer-7", 16), Partition(14));
    let statement = documented("SQLite").replace("VALUES (14,", "VALUES (2,");
    run(Command::new("sqlite3").arg("-bail").arg(&bed.place.url), &statement);
    assert_arrived(&bed).await;
}

#[tokio::test]
async fn python() {
    let bed = support::sqlite().await;
    with_orders(&bed).await;
    run(Command::new("python3").arg("-").arg(&bed.place.url), documented("Python"));
    assert_arrived(&bed).await;
}

#[test]
fn the_documented_partitions_are_right() {
    let said = "`a` is in partition 2 of 16, `customer-7` in 14, `ключ` in 2.";
    assert!(TEXT.contains(said));
    let of = |key: &str| Partition::of(key.as_bytes(), 16).0;
    assert_eq!([of("a"), of("customer-7"), of("ключ")], [2, 14, 2]);
    let id = "0190163d-8694-739b-8a1e-9b7a3f9c1a2b";
    assert!(TEXT.contains(&format!("Without a key, the id `{id}` is in 9.")));
    let keyless = Message::bytes("orders", "").id(id.parse().unwrap()).build().unwrap();
    assert_eq!(Partition::of_message(&keyless, 16), Partition(9));
}

/// Keys of all kinds of characters, some with what SQL strings must escape.
fn keys() -> Vec<Option<String>> {
    let alphabet: Vec<char> = "aZ09 '\\\"%_-\u{1}\u{7f}éßключ日本🦀\u{10ffff}".chars().collect();
    let key = |n: usize| {
        let digits = std::iter::successors(Some(n * 7919 + 1), |n| (*n > 20).then_some(n / 3));
        Some(digits.map(|digit| alphabet[digit % alphabet.len()]).collect())
    };
    (0..200).map(key).chain([None, Some("x".repeat(512)), Some("🦀".repeat(128))]).collect()
}

/// A database with a routine that enqueues.
trait Calls: Kind {
    async fn call(bed: &Bed<Self>, key: Option<&str>, id: Option<Uuid>);
}

impl Calls for Postgres {
    async fn call(bed: &Bed<Self>, key: Option<&str>, id: Option<Uuid>) {
        let call = format!(
            "SELECT {}('orders', '\\x00ff', message_key => $1, id => $2)",
            bed.table("_enqueue")
        );
        let call = sqlx::query_scalar(AssertSqlSafe(call)).bind(key).bind(id);
        let returned: Uuid = call.fetch_one(bed.pool()).await.unwrap();
        assert_eq!(id.unwrap_or(returned), returned);
    }
}

impl Calls for MySql {
    async fn call(bed: &Bed<Self>, key: Option<&str>, id: Option<Uuid>) {
        let routine = bed.table("_enqueue");
        let call = format!("CALL {routine}('orders', ?, NULL, NULL, x'00ff', NULL, ?)");
        let id = id.map(|id| id.as_bytes().to_vec());
        let call = sqlx::query(AssertSqlSafe(call)).bind(key).bind(id);
        call.execute(bed.pool()).await.unwrap();
    }
}

/// Rows are as an outbox of ours would have written them: the same partition for any key.
async fn assert_like_ours<DB: Calls>(bed: Bed<DB>) {
    for key in keys() {
        let id = Uuid::now_v7();
        DB::call(&bed, key.as_deref(), Some(id)).await;
        let row = bed.all().await.remove(0);
        assert_eq!((row.message.id(), row.message.key()), (id, key.as_deref()));
        let partition = Partition::of_message(&row.message, 4);
        assert_eq!((row.partition, &row.defect), (partition, &None), "{key:?}");
        bed.deliver(&[row]).await;
    }
    for _ in 0..20 {
        DB::call(&bed, None, None).await;
    }
    let rows = bed.all().await;
    let ids: std::collections::BTreeSet<Uuid> = rows.iter().map(|row| row.message.id()).collect();
    assert_eq!(ids.len(), 20, "each has an id of its own");
    for StoredRow { message, partition, .. } in &rows {
        let (id, made) = (message.id(), message.created_at());
        assert_eq!((id.get_version_num(), id.get_variant()), (7, uuid::Variant::RFC4122), "{id}");
        let (seconds, _) = id.get_timestamp().unwrap().to_unix();
        let made = made.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
        assert!(made.abs_diff(seconds) <= 1, "{id} at {made}");
        assert_eq!(*partition, Partition::of_message(message, 4));
        assert_eq!((message.content_type(), message.headers()), ("application/json", &[][..]));
    }
}

#[tokio::test]
async fn the_function_is_like_our_own_on_postgres() {
    assert_like_ours(support::postgres().await).await;
}

#[tokio::test]
async fn the_function_is_like_our_own_on_the_newest_postgres() {
    assert_like_ours(support::newest_postgres().await).await;
}

#[tokio::test]
async fn the_procedure_is_like_our_own_on_mariadb() {
    assert_like_ours(support::mariadb().await).await;
}

/// Several services in one database, each in the schema of its own role. Seen to fail with the
/// migration's `search_path` kept as text: `$user` was the caller's, and so was the outbox.
#[tokio::test]
async fn the_function_writes_where_it_belongs_whoever_calls_it() {
    let bed = support::postgres().await;
    let role = |name: &str| format!("{}_{name}", bed.place.names.schema.as_ref().unwrap());
    let (shop, legacy) = (role("shop"), role("legacy"));
    let prefix = Identifier::new("ours").unwrap();
    let config = OutboxConfig::named(Names { schema: None, prefix });
    let mut pools = Vec::new();
    for role in [&shop, &legacy] {
        bed.execute(format!("CREATE ROLE {role}; CREATE SCHEMA {role} AUTHORIZATION {role}")).await;
        let options = (*bed.pool().connect_options()).clone().options([("role", role)]);
        let pool = sqlx::PgPool::connect_with(options).await.unwrap();
        Outbox::migrate_with(&pool, &config).await.unwrap();
        pools.push(pool);
    }
    bed.execute(format!(
        "GRANT USAGE ON SCHEMA {shop} TO {legacy};
         GRANT SELECT, INSERT ON ALL TABLES IN SCHEMA {shop} TO {legacy};
         GRANT USAGE ON ALL SEQUENCES IN SCHEMA {shop} TO {legacy}"
    ))
    .await;
    let call = format!("SELECT {shop}.ours_enqueue('orders', 'x')");
    Postgres::sql(&pools[1], call).await.unwrap();
    for (role, rows) in [(&shop, 1), (&legacy, 0)] {
        let count = format!("SELECT count(*) FROM {role}.ours");
        assert_eq!(Postgres::number(bed.pool(), count).await, rows, "{role}");
    }
    for (role, pool) in [shop, legacy].iter().zip(pools) {
        pool.close().await;
        bed.execute(format!("DROP SCHEMA {role} CASCADE; DROP OWNED BY {role}; DROP ROLE {role}"))
            .await;
    }
}

/// Seen to fail without the strict mode of the insert itself: the key was cut, in the partition of
/// the whole.
#[tokio::test]
async fn what_is_too_long_is_an_error_in_every_sql_mode() {
    let bed = support::mariadb().await;
    let procedure = bed.table("_enqueue");
    let call = |topic: &str, key: &str, id: &str| {
        format!("SET sql_mode = ''; CALL {procedure}({topic}, {key}, NULL, NULL, 'x', NULL, {id})")
    };
    let whole = ("REPEAT('t', 249)", "REPEAT('я', 256)", "UNHEX(REPEAT('17', 16))");
    MySql::sql(bed.pool(), call(whole.0, whole.1, whole.2)).await.unwrap();
    for (topic, key, id) in [
        ("REPEAT('t', 300)", whole.1, whole.2),
        (whole.0, "REPEAT('я', 257)", whole.2),
        (whole.0, "REPEAT('я', 600)", whole.2),
        (whole.0, whole.1, "UUID()"),
    ] {
        let refused = MySql::sql(bed.pool(), call(topic, key, id)).await;
        assert!(refused.is_err(), "{topic} {key} {id}");
    }
    let rows = bed.all().await;
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].message.key(), Some(&*"я".repeat(256)));
}
