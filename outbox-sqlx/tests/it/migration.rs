//! Migrations.

use outbox_core::{Reason, StoreError, StoreErrorKind};
use outbox_sqlx::{Database, Error, Identifier, Names, Outbox, OutboxConfig, Receipt, script};
use sqlx::{MySqlPool, PgPool, Pool, SqlitePool};

use crate::support::{
    Bed, Kind, Place, for_every_database, keys, mariadb_place, message, newest_postgres_place,
    postgres_place, sqlite_place, table,
};

for_every_database!(
    it_may_run_again_but_not_with_another_count,
    another_version_is_refused,
    several_outboxes_share_a_database,
    an_older_version_is_brought_up_to_date,
);

macro_rules! for_every_empty_place {
    ($($test:ident),+ $(,)?) => {
        mod empty {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test(super::postgres_place().await).await;
                super::$test(super::newest_postgres_place().await).await;
                super::$test(super::mariadb_place().await).await;
                super::$test(super::sqlite_place().await).await;
            })+
        }
    };
}

for_every_empty_place!(
    without_a_migration_nothing_opens,
    it_may_run_in_many_processes_at_once,
    the_printed_script_does_the_same,
);

fn schema_error(result: Result<impl std::fmt::Debug, Error>) -> String {
    match result.unwrap_err() {
        Error::Outbox(error) if error.kind() == StoreErrorKind::Schema => error.to_string(),
        error => panic!("another error: {error:?}"),
    }
}

async fn it_may_run_again_but_not_with_another_count<DB: Kind>(bed: Bed<DB>) {
    bed.enqueue(&["a"]).await;
    let config =
        |partitions| OutboxConfig { partitions, ..OutboxConfig::named(bed.place.names.clone()) };
    Outbox::<DB>::migrate_with(bed.pool(), &config(4)).await.unwrap();
    assert_eq!(keys(&bed.all().await), ["a"]);
    let text = schema_error(Outbox::<DB>::migrate_with(bed.pool(), &config(8)).await);
    assert!(text.contains("has 4 partitions, which can't be changed to 8"), "{text}");
    for impossible in [0, 1025] {
        schema_error(Outbox::<DB>::migrate_with(bed.pool(), &config(impossible)).await);
    }
    let opened = Outbox::<DB>::open_with(bed.pool(), config(8)).await.unwrap();
    assert_eq!(opened.partitions(), 4, "the database's number holds");
    let beyond = format!("UPDATE {} SET partition_no = 4", bed.table(""));
    assert!(DB::sql(bed.pool(), beyond).await.is_err(), "no partition beyond the last");
}

async fn another_version_is_refused<DB: Kind>(bed: Bed<DB>) {
    let config = || OutboxConfig { partitions: 4, ..OutboxConfig::named(bed.place.names.clone()) };
    for (version, wanted) in [(99, "newer"), (0, "run its migration first")] {
        bed.execute(format!("UPDATE {} SET version = {version}", bed.table("_meta"))).await;
        let text = schema_error(Outbox::<DB>::open_with(bed.pool(), config()).await);
        assert!(text.contains(wanted), "{text}");
        let store: Result<_, StoreError> = outbox_sqlx::Store::<DB>::open(
            outbox_sqlx::SqlxDriver::like(bed.pool()),
            bed.store.config().clone(),
        )
        .await;
        assert_eq!(store.unwrap_err().kind(), StoreErrorKind::Schema);
        if version == 99 {
            let text = schema_error(Outbox::<DB>::migrate_with(bed.pool(), &config()).await);
            assert!(text.contains("newer"), "{text}");
        }
    }
}

/// Version 1 had neither an inbox, an audit nor a routine for other languages.
async fn an_older_version_is_brought_up_to_date<DB: Kind>(bed: Bed<DB>) {
    bed.enqueue(&["a"]).await;
    for table in ["_inbox", "_audit"] {
        bed.execute(format!("DROP TABLE {}", bed.table(table))).await;
    }
    let routine = bed.table("_enqueue");
    match DB::NAME {
        "PostgreSQL" => bed.execute(format!("DROP FUNCTION {routine}")).await,
        "MySQL" => bed.execute(format!("DROP PROCEDURE {routine}")).await,
        _ => {}
    }
    bed.execute(format!("UPDATE {} SET version = 1", bed.table("_meta"))).await;
    let config = || OutboxConfig { partitions: 4, ..OutboxConfig::named(bed.place.names.clone()) };
    let text = schema_error(Outbox::<DB>::open_with(bed.pool(), config()).await);
    assert!(text.contains("has version 1"), "{text}");
    Outbox::<DB>::migrate_with(bed.pool(), &config()).await.unwrap();
    let outbox = Outbox::<DB>::open_with(bed.pool(), config()).await.unwrap();
    let mut tx = outbox.begin(bed.pool()).await.unwrap();
    assert_eq!(outbox.inbox().accept(&mut tx, "billing", "7").await.unwrap(), Receipt::First);
    tx.rollback().await.unwrap();
    assert_eq!(keys(&bed.all().await), ["a"], "what was there is there");
}

async fn several_outboxes_share_a_database<DB: Kind>(bed: Bed<DB>) {
    let prefix = Identifier::new("order").unwrap();
    let names = Names { prefix, ..bed.place.names.clone() };
    let config = || OutboxConfig { partitions: 4, ..OutboxConfig::named(names.clone()) };
    Outbox::<DB>::migrate_with(bed.pool(), &config()).await.unwrap();
    let other = Outbox::<DB>::open_with(bed.pool(), config()).await.unwrap();
    bed.enqueue(&["a"]).await;
    let mut tx = other.begin(bed.pool()).await.unwrap();
    tx.emit(message("b")).unwrap();
    tx.commit().await.unwrap();
    let store = other.store().await.unwrap();
    let page = outbox_core::Store::fetch(&store, &crate::support::fetch_all()).await.unwrap();
    assert_eq!((keys(&bed.all().await), keys(&page.rows)), (vec!["a".into()], vec!["b".into()]));
}

async fn without_a_migration_nothing_opens<DB: Kind>(place: Place<DB>) {
    let text = schema_error(
        Outbox::open_with(&place.pool, OutboxConfig::named(place.names.clone())).await,
    );
    assert!(text.contains("run its migration first"), "{text}");
    let unknown = Names {
        schema: place.names.schema.as_ref().map(|_| Identifier::new("no_such_schema").unwrap()),
        prefix: Identifier::new("no_such_prefix").unwrap(),
    };
    let text =
        schema_error(Outbox::<DB>::open_with(&place.pool, OutboxConfig::named(unknown)).await);
    assert!(text.contains("no_such_prefix"), "{text}");
}

async fn it_may_run_in_many_processes_at_once<DB: Kind>(place: Place<DB>) {
    let mut running = tokio::task::JoinSet::new();
    for _ in 0..6 {
        let (pool, names) = (place.pool.clone(), place.names.clone());
        running.spawn(async move {
            Outbox::<DB>::migrate_with(&pool, &OutboxConfig::named(names)).await
        });
    }
    for migrated in running.join_all().await {
        migrated.unwrap();
    }
    let opened =
        Outbox::open_with(&place.pool, OutboxConfig::named(place.names.clone())).await.unwrap();
    assert_eq!(opened.partitions(), 16);
}

async fn the_printed_script_does_the_same<DB: Kind>(place: Place<DB>) {
    let script = script(dialect::<DB>(), &place.names, 4).unwrap();
    DB::sql(&place.pool, script).await.unwrap();
    let bed = Bed::new(place).await;
    bed.enqueue(&["a"]).await;
    assert_eq!(keys(&bed.all().await), ["a"]);
    let lease = table::<DB>(&bed.place.names, "_lease");
    assert_eq!(DB::number(bed.pool(), format!("SELECT count(*) FROM {lease}")).await, 4);
}

/// A service waits for a database that is away, and not for one that refuses it.
#[tokio::test]
async fn a_database_that_is_away_is_told_from_one_that_refuses() {
    async fn fails<DB: Kind>(pool: Pool<DB>, wanted: StoreErrorKind) {
        for result in [Outbox::migrate(&pool).await, Outbox::open(&pool).await.map(|_| ())] {
            let error = result.unwrap_err();
            assert_eq!(error.is_retryable(), wanted == StoreErrorKind::Unavailable);
            let Error::Outbox(error) = error else { panic!("another error: {error:?}") };
            let told = Reason::of(&error).to_string();
            assert_eq!(error.kind(), wanted, "{told}");
            assert!(told.starts_with("connecting failed") && !told.contains("canary"), "{told}");
        }
    }
    let nobody_listens = |scheme: &str| format!("{scheme}://canary:canary@127.0.0.1:1/d");
    let away = StoreErrorKind::Unavailable;
    fails(PgPool::connect_lazy(&nobody_listens("postgres")).unwrap(), away).await;
    fails(MySqlPool::connect_lazy(&nobody_listens("mysql")).unwrap(), away).await;
    fails(SqlitePool::connect_lazy("sqlite:/no/such/directory/test.db").unwrap(), away).await;
    let place = postgres_place().await;
    let options = (*place.pool.connect_options()).clone().password("canary");
    fails(PgPool::connect_lazy_with(options), StoreErrorKind::Other).await;
    let place = mariadb_place().await;
    let options = (*place.pool.connect_options()).clone().password("canary");
    fails(MySqlPool::connect_lazy_with(options), StoreErrorKind::Other).await;
}

fn dialect<DB: Database>() -> outbox_sqlx::Dialect {
    match DB::NAME {
        "PostgreSQL" => outbox_sqlx::Dialect::Postgres,
        "MySQL" => outbox_sqlx::Dialect::MySql,
        _ => outbox_sqlx::Dialect::Sqlite,
    }
}

#[tokio::test]
async fn a_sequence_with_a_cache_is_refused() {
    let bed = crate::support::postgres().await;
    bed.execute(format!("ALTER SEQUENCE {} CACHE 20", bed.table("_seq"))).await;
    let text = bed.outbox.store().await.map_err(|error| schema_error(Err::<(), _>(error)));
    assert!(text.unwrap_err().contains("CACHE 1"));
}

#[tokio::test]
async fn another_storage_engine_is_refused() {
    let bed = crate::support::mariadb().await;
    let outbox = bed.table("");
    bed.execute(format!("ALTER TABLE {outbox} ENGINE = Aria")).await;
    let text = bed.outbox.store().await.map_err(|error| schema_error(Err::<(), _>(error)));
    assert!(text.unwrap_err().contains("InnoDB"));
}

/// Seen to fail when the number of partitions was written last, and without the look for a table of
/// somebody else's.
#[tokio::test]
async fn a_migration_that_broke_off_is_taken_up_with_the_same_number_only() {
    let bed = crate::support::mariadb().await;
    let config =
        |partitions| OutboxConfig { partitions, ..OutboxConfig::named(bed.place.names.clone()) };
    // What is there after the first statements.
    bed.execute(format!("UPDATE {} SET version = 0", bed.table("_meta"))).await;
    bed.execute(format!("DROP TABLE {}", bed.table("_relay"))).await;
    assert!(
        schema_error(Outbox::open_with(bed.pool(), config(4)).await)
            .contains("run its migration first")
    );
    let text = schema_error(Outbox::migrate_with(bed.pool(), &config(8)).await);
    assert!(text.contains("has 4 partitions"), "{text}");
    Outbox::migrate_with(bed.pool(), &config(4)).await.unwrap();
    Outbox::open_with(bed.pool(), config(4)).await.unwrap();
    bed.execute(format!("DROP TABLE {}", bed.table("_meta"))).await;
    let text = schema_error(Outbox::migrate_with(bed.pool(), &config(4)).await);
    assert!(text.contains("is no outbox"), "{text}");
}

/// Seen to fail when the switch to WAL was not tried again.
#[tokio::test(flavor = "multi_thread")]
async fn new_files_are_migrated_by_many_at_once() {
    for _ in 0..15 {
        let place = sqlite_place().await;
        let mut running = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let options = (*place.pool.connect_options()).clone();
            running.spawn(async move {
                let pool = SqlitePool::connect_lazy_with(options);
                Outbox::migrate(&pool).await
            });
        }
        for migrated in running.join_all().await {
            migrated.unwrap();
        }
    }
}

/// Seen to fail without the schema that is found at open: the relay reads another outbox than the
/// producer writes to.
#[tokio::test]
async fn an_outbox_stays_where_it_was_found() {
    let (here, elsewhere) = (crate::support::postgres().await, crate::support::postgres().await);
    let pool = |bed: &Bed<sqlx::Postgres>| {
        let schema = bed.place.names.schema.as_ref().unwrap();
        let options = (*bed.pool().connect_options()).clone();
        PgPool::connect_lazy_with(options.options([("search_path", schema.as_str())]))
    };
    let outbox = Outbox::open(&pool(&here)).await.unwrap();
    assert_eq!(outbox.names(), &here.place.names);
    let mut tx = outbox.begin(&pool(&elsewhere)).await.unwrap();
    tx.emit(message("a")).unwrap();
    tx.commit().await.unwrap();
    assert_eq!(keys(&here.all().await), ["a"]);
    assert_eq!(elsewhere.count("").await, 0);
}
