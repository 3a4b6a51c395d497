//! Which connections an outbox takes, and where it looks.

use outbox_core::{Reason, StoreErrorKind};
use outbox_seaorm::{Error, Outbox, OutboxConfig, SeaOrmDriver};
use sea_orm::{
    ActiveModelBehavior, ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend,
    DbErr, MockDatabase, Set, TransactionTrait,
};

use crate::support::{
    self, Bed, Place, connect, fetch_all, for_every_database, keys, message, number, run,
};

for_every_database!(a_hook_enqueues_in_the_transaction_of_its_model, where_the_pool_works_it_is);

/// The service's own table.
#[expect(unreachable_pub, reason = "SeaORM's derives want a public model")]
mod orders {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "orders")]
    pub struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub id: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub enum Relation {}
}

tokio::task_local! {
    /// Hooks have no state: a service would keep its outbox in a `OnceLock`.
    static OUTBOX: Outbox;
}

#[async_trait::async_trait]
impl ActiveModelBehavior for orders::ActiveModel {
    async fn after_save<C: ConnectionTrait>(
        model: orders::Model,
        db: &C,
        _: bool,
    ) -> Result<orders::Model, DbErr> {
        let outbox = OUTBOX.get();
        let told = outbox.enqueue_in_raw_transaction(db, [message(&model.id.to_string())]).await;
        told.map_err(outbox_seaorm::db_err)?;
        Ok(model)
    }
}

async fn insert<C: ConnectionTrait>(connection: &C, id: i64) -> Result<orders::Model, DbErr> {
    sea_orm::ActiveModelTrait::insert(orders::ActiveModel { id: Set(id) }, connection).await
}

/// Seen to fail without the probe: a model that is saved on the pool stores its message.
async fn a_hook_enqueues_in_the_transaction_of_its_model(bed: Bed) {
    let db = bed.place.inside(2).await;
    run(&db, "CREATE TABLE orders (id BIGINT PRIMARY KEY)").await;
    let outbox = bed.outbox.clone();
    let saving = OUTBOX.scope(outbox.clone(), async {
        let tx = outbox.begin(&db).await.unwrap();
        insert(&tx, 1).await.unwrap();
        tx.commit().await.unwrap();
        let tx = db.begin().await.unwrap();
        insert(&tx, 2).await.unwrap();
        insert(&tx.begin().await.unwrap(), 3).await.unwrap();
        tx.commit().await.unwrap();
        let tx = db.begin().await.unwrap();
        insert(&tx, 4).await.unwrap();
        tx.rollback().await.unwrap();
        // On the pool the row would be stored though its message fails.
        insert(&db, 5).await.unwrap_err()
    });
    let refused = saving.await.to_string();
    assert!(refused.contains("the transaction has ended"), "{refused}");
    assert_eq!(keys(&bed.in_order().await), ["1", "2"]);
}

/// A `schema_search_path` of SeaORM's is set on the pool's connections only. Seen to fail on
/// PostgreSQL without `locate`: the tables were made in `public`.
async fn where_the_pool_works_it_is(bed: Bed) {
    let place = bed.place;
    let db = place.inside(3).await;
    let tables = |place: &Place| format!("SELECT count(*) FROM {}", place.table("_partition"));
    match place.backend() {
        DbBackend::Postgres => run(&db, "DROP FUNCTION outbox_enqueue").await,
        DbBackend::MySql => {
            run(&db, "DROP PROCEDURE outbox_enqueue").await;
            run(&db, "DROP TABLE outbox_flush").await;
        }
        _ => {}
    }
    for table in
        ["", "_dead", "_parked", "_lease", "_meta", "_partition", "_relay", "_inbox", "_audit"]
    {
        run(&db, &format!("DROP TABLE {}", place.table(table))).await;
    }
    let config = OutboxConfig { partitions: 4, ..OutboxConfig::default() };
    Outbox::migrate_with(&db, &config).await.unwrap();
    Outbox::migrate_with(&db, &config).await.unwrap();
    assert_eq!(number(&place.db, &tables(&place)).await, 4, "where the pool creates tables");
    let outbox = Outbox::open(&db).await.unwrap();
    assert_eq!(outbox.names(), &place.names);
    let mut tx = outbox.begin(&place.db).await.unwrap();
    tx.emit(message("a")).unwrap();
    tx.commit().await.unwrap();
    let store = outbox.store().await.unwrap();
    let rows = outbox_core::Store::fetch(&store, &fetch_all()).await.unwrap().rows;
    assert_eq!(keys(&rows), ["a"]);
}

/// Seen to fail when the name of the sequence went into a text as it is: a syntax error, and with
/// another name whatever its owner wrote.
#[tokio::test]
async fn a_schema_may_have_any_name() {
    let place = support::postgres_place().await;
    let schema = format!("o'brien\"_{}", uuid::Uuid::now_v7().simple());
    let quoted = format!("\"{}\"", schema.replace('"', "\"\""));
    run(&place.db, &format!("CREATE SCHEMA {quoted}")).await;
    let path = quoted.replace('"', "%22").replace('\'', "%27");
    let db = connect(&format!("{}?options=-csearch_path%3D{path}", place.url), 2).await;
    Outbox::migrate(&db).await.unwrap();
    let outbox = Outbox::open(&db).await.unwrap();
    let mut tx = outbox.begin(&db).await.unwrap();
    tx.emit(message("a")).unwrap();
    tx.commit().await.unwrap();
    assert_eq!(number(&place.db, &format!("SELECT seq FROM {quoted}.outbox")).await, 1);
    run(&place.db, &format!("DROP SCHEMA {quoted} CASCADE")).await;
}

/// Two outboxes of one service, one by sqlx, on one connection. Seen to fail when both had one text
/// for different binds: sqlx prepares a text once.
#[tokio::test]
async fn an_outbox_of_sqlx_s_on_the_same_pool_gets_along() {
    let bed = support::postgres().await;
    let db = connect(&bed.place.url, 1).await;
    let pool = db.get_postgres_connection_pool();
    let config = outbox_sqlx::OutboxConfig::named(bed.place.names.clone());
    let by_sqlx = outbox_sqlx::Outbox::open_with(pool, config).await.unwrap();
    for round in 0..2 {
        let mut tx = bed.outbox.begin(&db).await.unwrap();
        tx.emit(message(&format!("{round} a"))).unwrap();
        tx.emit(message(&format!("{round} b"))).unwrap();
        tx.commit().await.unwrap();
        let mut tx = by_sqlx.begin(pool).await.unwrap();
        tx.emit(message(&format!("{round} c"))).unwrap();
        tx.emit(message(&format!("{round} d"))).unwrap();
        tx.commit().await.unwrap();
    }
    let wanted = ["0 a", "0 b", "0 c", "0 d", "1 a", "1 b", "1 c", "1 d"];
    assert_eq!(keys(&bed.in_order().await), wanted);
}

#[tokio::test]
async fn what_is_no_pool_of_sqlx_s_is_refused() {
    let mock = MockDatabase::new(DbBackend::Postgres).into_connection();
    for (db, name) in
        [(DatabaseConnection::default(), "Disconnected"), (mock, "MockDatabaseConnection")]
    {
        for result in [
            Outbox::migrate(&db).await,
            Outbox::open(&db).await.map(|_| ()),
            SeaOrmDriver::like(&db).map(|_| ()),
        ] {
            let error = result.unwrap_err();
            assert!(!error.is_retryable());
            let told = Reason::of(&error).to_string();
            assert!(told.contains("needs a connection to PostgreSQL") && told.ends_with(name));
        }
    }
}

/// Types of SeaORM's don't tell the databases apart. Seen to fail without the check in `Lent::new`:
/// SQLite is asked in MySQL's words.
#[tokio::test(flavor = "multi_thread")]
async fn a_transaction_of_another_database_is_refused() {
    let (here, there) = (support::sqlite().await, support::mariadb().await);
    let tx = here.db().begin().await.unwrap();
    let error = there.outbox.enqueue(&tx, message("a")).await.unwrap_err();
    let told = Reason::of(&error).to_string();
    assert_eq!(
        told,
        "enqueueing failed: the database refused: the outbox is in MySQL, the \
                      connection is to Sqlite"
    );
    here.outbox.enqueue(&tx, message("b")).await.unwrap();
    tx.commit().await.unwrap();
    assert_eq!(keys(&here.all().await), ["b"]);
}

/// A service waits for a database that is away, and not for one that refuses it.
#[tokio::test]
async fn a_database_that_is_away_is_told_from_one_that_refuses() {
    async fn fails(db: DatabaseConnection, wanted: StoreErrorKind) {
        for result in [Outbox::migrate(&db).await, Outbox::open(&db).await.map(|_| ())] {
            let error = result.unwrap_err();
            assert_eq!(error.is_retryable(), wanted == StoreErrorKind::Unavailable);
            let Error::Outbox(error) = error else { panic!("another error: {error:?}") };
            let told = Reason::of(&error).to_string();
            assert_eq!(error.kind(), wanted, "{told}");
            assert!(!told.contains("canary"), "{told}");
        }
    }
    async fn lazy(url: &str) -> DatabaseConnection {
        let mut options = ConnectOptions::new(url);
        options.connect_lazy(true).sqlx_logging(false);
        options.acquire_timeout(std::time::Duration::from_secs(1));
        Database::connect(options).await.unwrap()
    }
    for scheme in ["postgres", "mysql"] {
        let nobody_listens = format!("{scheme}://canary:canary@127.0.0.1:1/d");
        fails(lazy(&nobody_listens).await, StoreErrorKind::Unavailable).await;
    }
    // SeaORM asks SQLite for its version even so.
    let pool = sea_orm::sqlx::SqlitePool::connect_lazy("sqlite:/no/such/directory/test.db");
    fails(pool.unwrap().into(), StoreErrorKind::Unavailable).await;
    for place in [support::postgres_place().await, support::mariadb_place().await] {
        let refused = place.url.replace(":outbox@", ":canary@");
        fails(lazy(&refused).await, StoreErrorKind::Other).await;
    }
}
