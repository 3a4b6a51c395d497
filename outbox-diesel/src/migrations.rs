//! The outbox's tables in a service's own list of migrations.

use std::fmt;

use diesel::connection::BoxableConnection;
use diesel::migration::{
    self, Migration, MigrationMetadata, MigrationName, MigrationSource, MigrationVersion,
};
use outbox_sql::{OutboxConfig, migrations};

use crate::Database;

/// The migrations of an outbox, for `MigrationHarness` of `diesel_migrations`. Diesel keeps in its
/// own table which of them have run, as versions such as `0-outbox_0001`; run them there and not by
/// [`Outbox::migrate`](crate::sync::Outbox::migrate).
///
/// The schema, if the outbox has one, must exist. On SQLite the file stays in its journal mode
/// until a relay switches it to write-ahead logging.
///
/// A migration can't be reverted: messages would be lost. Diesel reverts in the order of the
/// versions, and these come before all that begin with a digit: reverting and redoing the last one
/// of your own works as before. `revert_all_migrations` ends with an error when only these are
/// left.
#[derive(Debug, Clone, Default)]
pub struct OutboxMigrations {
    config: OutboxConfig,
}

impl OutboxMigrations {
    /// Those of an outbox with these settings.
    pub fn new(config: OutboxConfig) -> Self {
        Self { config }
    }
}

impl<DB: Database> MigrationSource<DB> for OutboxMigrations {
    fn migrations(&self) -> migration::Result<Vec<Box<dyn Migration<DB>>>> {
        let OutboxConfig { names, partitions, .. } = &self.config;
        let step = |migration: outbox_sql::Migration| -> Box<dyn Migration<DB>> {
            let name = Name::new(&format!("{names}_{:04}", migration.version));
            Box::new(Step { name, statements: migration.statements })
        };
        Ok(migrations(DB::DIALECT, names, *partitions)?.into_iter().map(step).collect())
    }
}

struct Step {
    name: Name,
    statements: Vec<String>,
}

struct Name(String);

struct InATransaction;

impl MigrationMetadata for InATransaction {}

impl<DB: Database> Migration<DB> for Step {
    fn run(&self, connection: &mut dyn BoxableConnection<DB>) -> migration::Result<()> {
        for statement in &self.statements {
            connection.batch_execute(statement)?;
        }
        Ok(())
    }

    fn revert(&self, _: &mut dyn BoxableConnection<DB>) -> migration::Result<()> {
        Err("the migrations of an outbox can't be reverted: messages would be lost".into())
    }

    fn metadata(&self) -> &dyn MigrationMetadata {
        &InATransaction
    }

    fn name(&self) -> &dyn MigrationName {
        &self.name
    }
}

/// Diesel takes the version that is last as text for the one that was run last, and finds only
/// those of the source that it was given: these must never be last.
const FIRST: &str = "0-";

/// Diesel's table has room for that many characters.
const LONGEST: usize = 50;

impl MigrationName for Name {
    fn version(&self) -> MigrationVersion<'_> {
        MigrationVersion::from(self.0.as_str())
    }
}

impl Name {
    /// Of names that are too long it has a digest, FNV-1a, and the end: there is the number.
    fn new(name: &str) -> Self {
        let room = LONGEST - FIRST.len();
        if name.len() <= room {
            return Self(format!("{FIRST}{name}"));
        }
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        let digest = name.bytes().fold(0xcbf2_9ce4_8422_2325, step);
        let digest = format!("{digest:016x}_");
        let end = &name[name.len() + digest.len() - room..];
        Self(format!("{FIRST}{digest}{end}"))
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
