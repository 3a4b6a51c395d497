//! The tables made by SeaORM's migrator.

use outbox_core::{Partition, PartitionRead, Store as _};
use outbox_seaorm::{Outbox, OutboxConfig, migrations, migrations_with};
use sea_orm::{ConnectionTrait, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, MigratorTrait, SchemaManager};

use crate::support::{
    Place, fetch_all, keys, mariadb_place, message, newest_postgres_place, number, postgres_place,
    run, sqlite_place,
};

/// The service's own migration, beside the outbox's.
struct Orders;

impl MigrationName for Orders {
    fn name(&self) -> &'static str {
        "m20260101_000001_orders"
    }
}

#[async_trait::async_trait]
impl MigrationTrait for Orders {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let create = "CREATE TABLE orders (id BIGINT PRIMARY KEY)";
        manager.get_connection().execute_unprepared(create).await.map(|_| ())
    }
}

struct Migrator;

impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        let mut all: Vec<Box<dyn MigrationTrait>> = vec![Box::new(Orders)];
        all.extend(migrations());
        all
    }
}

/// Seen to fail where a function, which `fresh` doesn't drop with the tables, was in the way.
#[tokio::test(flavor = "multi_thread")]
async fn the_migrator_makes_what_migrate_makes() {
    it_makes_what_migrate_makes(postgres_place().await).await;
    it_makes_what_migrate_makes(newest_postgres_place().await).await;
    it_makes_what_migrate_makes(mariadb_place().await).await;
    it_makes_what_migrate_makes(sqlite_place().await).await;
}

async fn it_makes_what_migrate_makes(place: Place) {
    place.create_schema().await;
    let db = place.inside(3).await;
    Migrator::up(&db, None).await.unwrap();
    Migrator::up(&db, None).await.unwrap();
    let applied = Migrator::get_applied_migrations(&db).await.unwrap();
    let names: Vec<_> = applied.iter().map(|migration| migration.name().to_owned()).collect();
    assert_eq!(names[..2], ["m20260101_000001_orders", "outbox_v1"]);
    Migrator::fresh(&db).await.unwrap();
    assert_eq!(Migrator::get_applied_migrations(&db).await.unwrap().len(), names.len());

    // For the other way nothing is left to do.
    Outbox::migrate(&db).await.unwrap();
    let outbox = Outbox::open(&db).await.unwrap();
    assert_eq!((outbox.names(), outbox.partitions()), (&place.names, 16));
    let mut tx = outbox.begin(&db).await.unwrap();
    run(&tx, "INSERT INTO orders VALUES (1)").await;
    tx.emit(message("a")).unwrap();
    tx.commit().await.unwrap();
    let mut fetch = fetch_all();
    let all = |number| PartitionRead { partition: Partition(number), ..fetch.reads[0] };
    fetch.reads = (0..16).map(all).collect();
    let store = outbox.store().await.unwrap();
    assert_eq!(keys(&store.fetch(&fetch).await.unwrap().rows), ["a"]);

    Migrator::down(&db, Some(1)).await.unwrap_err();
    assert_eq!(number(&db, "SELECT count(*) FROM outbox").await, 1);
}

/// Seen to fail outside of a transaction: what was made before it broke off was in the way.
#[tokio::test(flavor = "multi_thread")]
async fn a_migration_that_broke_off_can_be_done_again() {
    for place in [postgres_place().await, newest_postgres_place().await, sqlite_place().await] {
        place.create_schema().await;
        let db = place.inside(3).await;
        run(&db, "CREATE TABLE outbox_relay (id INTEGER)").await;
        Migrator::up(&db, None).await.unwrap_err();
        run(&db, "DROP TABLE outbox_relay").await;
        Migrator::up(&db, None).await.unwrap();
        Outbox::open(&db).await.unwrap();
    }
}

/// Another outbox's migrations have other names in the same list.
#[test]
fn each_outbox_has_migrations_of_its_own() {
    let names = |config: &OutboxConfig| {
        let all = migrations_with(config);
        all.iter().map(|migration| migration.name().to_owned()).collect::<Vec<_>>()
    };
    let mut other = OutboxConfig::default();
    other.names.prefix = "orders_outbox".parse().unwrap();
    assert_eq!(names(&other)[0], "orders_outbox_v1");
    other.names.schema = Some("app".parse().unwrap());
    assert_eq!(names(&other)[0], "app.orders_outbox_v1");
    assert_eq!(names(&OutboxConfig::default()).len(), migrations().len());
}
