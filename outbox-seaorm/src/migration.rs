//! The tables as migrations for SeaORM's migrator.

use async_trait::async_trait;
use outbox_sql::{Dialect, OutboxConfig, VERSION};
use sea_orm::{ConnectionTrait, DbBackend, DbErr};
use sea_orm_migration::{MigrationName, MigrationTrait, SchemaManager};

use crate::{Error, db_err};

/// The default outbox's migrations; see [`migrations_with`].
pub fn migrations() -> Vec<Box<dyn MigrationTrait>> {
    migrations_with(&OutboxConfig::default())
}

/// What creates an outbox's tables and brings them up to date, for the list of a service's own
/// migrator. Use it in place of [`Outbox::migrate`](crate::Outbox::migrate).
///
/// Each migration is named after the outbox and the version of its tables. A newer release of this
/// crate appends some and changes none. A schema that `config` names must exist.
///
/// They have no way down: messages that wait would be lost.
pub fn migrations_with(config: &OutboxConfig) -> Vec<Box<dyn MigrationTrait>> {
    let migration = |version| {
        let (name, config) = (format!("{}_v{version}", config.names), config.clone());
        Box::new(Migration { name, version, config }) as Box<dyn MigrationTrait>
    };
    (1..=VERSION).map(migration).collect()
}

struct Migration {
    name: String,
    version: i64,
    config: OutboxConfig,
}

impl MigrationName for Migration {
    fn name(&self) -> &str {
        &self.name
    }
}

#[async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let dialect = match manager.get_database_backend() {
            DbBackend::Postgres => Dialect::Postgres,
            DbBackend::MySql => Dialect::MySql,
            DbBackend::Sqlite => Dialect::Sqlite,
            other => {
                return Err(DbErr::BackendNotSupported { db: other.as_str(), ctx: "an outbox" });
            }
        };
        let OutboxConfig { names, partitions, .. } = &self.config;
        let all = outbox_sql::migrations(dialect, names, *partitions);
        let all = all.map_err(|error| db_err(Error::from(error)))?;
        for migration in all.into_iter().filter(|migration| migration.version == self.version) {
            for statement in migration.statements {
                manager.get_connection().execute_unprepared(&statement).await?;
            }
        }
        Ok(())
    }

    async fn down(&self, _: &SchemaManager) -> Result<(), DbErr> {
        let told = "an outbox's tables hold messages that wait: drop them by hand";
        Err(DbErr::Migration(told.to_owned()))
    }

    /// MySQL can't undo data definition; its statements may be repeated.
    fn use_transaction(&self) -> Option<bool> {
        Some(true)
    }
}
