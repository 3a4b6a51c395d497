//! The outbox's tables in a service's own list of migrations.

use diesel::backend::Backend;
use diesel::connection::SimpleConnection as _;
use diesel::migration::{Migration, MigrationSource};
use diesel_migrations::{FileBasedMigrations, MigrationHarness};
use outbox_diesel::{Identifier, Names, OutboxConfig, OutboxMigrations, sync};

use crate::support::{Bed, Kind, message};

/// In a place where nothing is yet; Diesel's own table comes into the database's default schema.
macro_rules! migrations {
    ($module:ident) => {
        #[tokio::test(flavor = "multi_thread")]
        async fn $module() {
            let bed = crate::support::$module().await;
            let mut connection = bed.block();
            let names = Names { prefix: Identifier::new("listed").unwrap(), ..bed.names.clone() };
            let use_schema = match (&bed.names.schema, bed.outbox.dialect()) {
                (Some(schema), outbox_sql::Dialect::Postgres) => {
                    format!("SET search_path = {schema}")
                }
                (Some(schema), _) => format!("USE {schema}"),
                (None, _) => "SELECT 1".to_owned(),
            };
            connection.batch_execute(&use_schema).unwrap();
            let config = OutboxConfig { partitions: 4, ..OutboxConfig::named(names) };
            let source = OutboxMigrations::new(config.clone());
            let pending = MigrationHarness::pending_migrations(&mut connection, source.clone());
            let listed = pending.unwrap().len();
            assert!(listed > 0);
            let run = connection.run_pending_migrations(source.clone()).unwrap().len();
            assert_eq!(run, listed);
            assert!(connection.run_pending_migrations(source.clone()).unwrap().is_empty());

            // Migrating by the outbox itself finds nothing left to do.
            sync::Outbox::migrate_with(&mut connection, &config).unwrap();
            let outbox = sync::Outbox::open_with(&mut connection, config).unwrap();
            assert_eq!(outbox.partitions(), 4);
            outbox.transaction(&mut connection, |mut tx| tx.emit(message("a"))).unwrap();
            assert_eq!(bed.count(&bed.named("listed")).await, 1);

            let reverted = connection.revert_last_migration(source);
            assert!(reverted.unwrap_err().to_string().contains("messages would be lost"));
            assert_eq!(bed.count(&bed.named("listed")).await, 1);
            others_are_reverted_as_before(&mut connection);
            two_outboxes_never_share_a_version(&bed);
        }
    };
}

migrations!(postgres);
migrations!(newest_postgres);
migrations!(mariadb);
migrations!(sqlite);

/// The last migration is the one whose version is last as text, in the database's collation. Seen
/// to fail with `outbox_0001` for a version: that was the last one for ever, and unknown to
/// `theirs`.
fn others_are_reverted_as_before<DB: outbox_diesel::Database>(
    connection: &mut impl MigrationHarness<DB>,
) {
    let directory = tempfile::tempdir().unwrap();
    // The first is what Diesel itself begins with.
    let versions = ["00000000000000", "00001", "1", "20260101000000"];
    for version in versions {
        let migration = directory.path().join(format!("{version}_theirs"));
        std::fs::create_dir(&migration).unwrap();
        let sql = |action| format!("{action} TABLE theirs_{version}");
        std::fs::write(migration.join("up.sql"), sql("CREATE") + " (id INT)").unwrap();
        std::fs::write(migration.join("down.sql"), sql("DROP")).unwrap();
    }
    let theirs = || FileBasedMigrations::from_path(directory.path()).unwrap();
    connection.run_pending_migrations(theirs()).unwrap();
    for version in versions.iter().rev() {
        let reverted = connection.revert_last_migration(theirs()).unwrap();
        assert_eq!(reverted.to_string(), *version);
    }
    let none = connection.revert_last_migration(theirs()).unwrap_err();
    assert!(none.to_string().contains("0-"), "{none}");
}

/// Diesel's table takes 50 characters. Seen to fail with the first 50 instead of a digest.
fn two_outboxes_never_share_a_version<C: Kind>(_: &Bed<C>) {
    let long = |schema: &str, last: char| Names {
        schema: Some(Identifier::new(&format!("{schema}{}", "s".repeat(30))).unwrap()),
        prefix: Identifier::new(&format!("{}{last}", "p".repeat(39))).unwrap(),
    };
    let mut versions = Vec::new();
    for names in [long("a", 'a'), long("a", 'b'), long("b", 'a'), Names::default()] {
        versions
            .extend(versions_of::<C::Backend>(&OutboxMigrations::new(OutboxConfig::named(names))));
    }
    assert!(versions.iter().all(|version| version.len() <= 50), "{versions:?}");
    assert!(versions.contains(&"0-outbox_0001".to_owned()), "{versions:?}");
    let all = versions.len();
    versions.sort_unstable();
    versions.dedup();
    assert_eq!(versions.len(), all);
}

fn versions_of<DB: Backend>(source: &impl MigrationSource<DB>) -> Vec<String> {
    let migrations: Vec<Box<dyn Migration<DB>>> = source.migrations().unwrap();
    migrations.iter().map(|migration| migration.name().version().to_string()).collect()
}
