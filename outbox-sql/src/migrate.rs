//! Making the tables.

use std::fmt::Write as _;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::StoreError;

use crate::failure::{Failure, schema};
use crate::open::{check_count, check_server, installed, is_there, newer, number};
use crate::pooler::slots;
use crate::schema::{self as tables, Migration};
use crate::slot::{Operation, begin_write};
use crate::statement::Sql;
use crate::store::Context;
use crate::{Dialect, Driver, Identifier, Names, Session, StoreConfig, VERSION};

/// How long a migration waits for another one that runs already.
const PATIENCE: Duration = Duration::from_mins(1);

/// Creates the tables of the outbox `names`, or brings them up to date, under a lock. It may be
/// run again and by several processes at once; `partitions` must be the number that it was first
/// run with.
///
/// A schema (on MySQL, a database) that doesn't exist is created.
pub async fn migrate<D: Driver>(
    driver: &D,
    names: &Names,
    partitions: u16,
) -> Result<(), StoreError> {
    check_count(partitions)?;
    let config =
        StoreConfig { names: names.clone(), lock_timeout: PATIENCE, ..StoreConfig::default() };
    let context = Context::new(driver.dialect(), &config);
    // Several processes that create one SQLite file conflict more often than they ever will later.
    let config = StoreConfig { conflict_retries: 20, ..config };
    let slot = &slots(driver, &config, 1).await?[0];
    slot.run(driver, &config, &Migrate { context, names, partitions }).await
}

/// Like [`migrate`], on a connection of the user's that is in no transaction. A conflict with
/// another migration isn't tried again.
pub async fn migrate_on<S: Session>(
    session: &mut S,
    dialect: Dialect,
    names: &Names,
    partitions: u16,
) -> Result<(), StoreError> {
    check_count(partitions)?;
    let config = StoreConfig { names: names.clone(), ..StoreConfig::default() };
    let migrate = Migrate { context: Context::new(dialect, &config), names, partitions };
    let failed = |failure: Failure| failure.into_store_error(Migrate::NAME);
    if dialect == Dialect::Sqlite {
        session.run("PRAGMA journal_mode = WAL").await.map_err(|error| failed(error.into()))?;
    }
    let migrated = migrate.run(session).await;
    if migrated.is_err() && dialect != Dialect::MySql {
        // What was the matter is in the error; where no transaction is open there is none to end.
        let _ = session.run("ROLLBACK").await;
    }
    migrated.map_err(failed)
}

/// The migrations as plain SQL, for a migration tool of the user's own. Run it once, in a
/// transaction where the database can.
pub fn script(dialect: Dialect, names: &Names, partitions: u16) -> Result<String, StoreError> {
    check_count(partitions)?;
    let mut script = format!(
        "-- Transactional outbox `{names}` for {}, version {VERSION}, {partitions} partitions.\n",
        dialect.name()
    );
    if let (Some(schema), Some(create)) = (&names.schema, create_schema(dialect)) {
        writeln!(script, "{create}{};", quoted(dialect, schema)).expect("a string");
    }
    for migration in tables::migrations(dialect, names, partitions) {
        for statement in migration.statements {
            writeln!(script, "{statement};").expect("a string");
        }
    }
    Ok(script)
}

/// The migrations one by one, ascending by version, for a migration tool that keeps a list of its
/// own. Where the database can, run each in a transaction. The schema, if `names` have one, must
/// exist.
pub fn migrations(
    dialect: Dialect,
    names: &Names,
    partitions: u16,
) -> Result<Vec<Migration>, StoreError> {
    check_count(partitions)?;
    Ok(tables::migrations(dialect, names, partitions))
}

struct Migrate<'a> {
    context: Context,
    names: &'a Names,
    partitions: u16,
}

#[async_trait]
impl Operation for Migrate<'_> {
    type Output = ();
    const NAME: &'static str = "migrating the outbox";

    async fn run<S: Session>(&self, session: &mut S) -> Result<(), Failure> {
        check_server(session, self.context.dialect, self.names).await?;
        self.lock(session).await?;
        self.create_schema(session).await?;
        let at = match installed(session, &self.context, self.names).await? {
            None => {
                self.check_stranger(session).await?;
                0
            }
            Some(info) if info.version > VERSION => return Err(newer(self.names, info.version)),
            Some(info) if info.partitions != self.partitions => {
                return Err(schema(format!(
                    "the outbox `{}` has {} partitions, which can't be changed to {}",
                    self.names, info.partitions, self.partitions
                )));
            }
            Some(info) => info.version,
        };
        for migration in tables::migrations(self.context.dialect, self.names, self.partitions) {
            if migration.version > at {
                for statement in migration.statements {
                    session.run(&statement).await?;
                }
            }
        }
        self.unlock(session).await
    }
}

impl Migrate<'_> {
    /// MySQL creates its tables only where they are missing, so that a migration that broke off
    /// can be run again; a table of somebody else's would pass for the outbox.
    async fn check_stranger<S: Session>(&self, session: &mut S) -> Result<(), Failure> {
        if self.context.dialect == Dialect::MySql && is_there(session, self.names, "").await? {
            return Err(schema(format!(
                "there is a table `{}` already that is no outbox: choose another prefix",
                self.names
            )));
        }
        Ok(())
    }

    /// Keeps other migrations out until [`unlock`](Self::unlock), or until the session ends.
    async fn lock<S: Session>(&self, session: &mut S) -> Result<(), Failure> {
        let dialect = self.context.dialect;
        match dialect {
            Dialect::Sqlite => begin_write(session, dialect, PATIENCE).await?,
            Dialect::Postgres => {
                begin_write(session, dialect, PATIENCE).await?;
                let key = self.lock_key().cast_signed();
                session.run(&format!("SELECT pg_advisory_xact_lock({key})")).await?;
            }
            Dialect::MySql => {
                let mut sql = Sql::new(dialect, "SELECT GET_LOCK(");
                sql.bind(self.lock_name().as_str()).push(", ");
                sql.bind(i64::try_from(PATIENCE.as_secs()).unwrap_or(i64::MAX)).push(")");
                if number(session, sql).await? != Some(1) {
                    return Err(schema("another migration of this outbox doesn't come to an end"));
                }
            }
        }
        Ok(())
    }

    async fn unlock<S: Session>(&self, session: &mut S) -> Result<(), Failure> {
        if self.context.dialect == Dialect::MySql {
            let mut sql = Sql::new(Dialect::MySql, "SELECT RELEASE_LOCK(");
            sql.bind(self.lock_name().as_str()).push(")");
            number(session, sql).await?;
        } else {
            session.run("COMMIT").await?;
        }
        Ok(())
    }

    /// Creates the schema if it is missing. Even `IF NOT EXISTS` would need the right to create
    /// one, which most users of an existing schema don't have.
    async fn create_schema<S: Session>(&self, session: &mut S) -> Result<(), Failure> {
        let dialect = self.context.dialect;
        let (Some(schema), Some(create)) = (&self.names.schema, create_schema(dialect)) else {
            return Ok(());
        };
        let mut sql = Sql::new(
            dialect,
            "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ",
        );
        if dialect == Dialect::Postgres {
            // The standard's view shows only schemas that one owns.
            sql = Sql::new(dialect, "SELECT count(*) FROM pg_namespace WHERE nspname = ");
        }
        sql.bind(schema.as_str());
        if number(session, sql).await? == Some(0) {
            // It may be misspelt.
            tracing::warn!("there is no schema `{schema}` yet: it is created");
            session.run(&format!("{create}{}", quoted(dialect, schema))).await?;
        }
        Ok(())
    }

    fn lock_name(&self) -> String {
        format!("outbox-{:016x}", self.lock_key())
    }

    /// FNV-1a: it must only be the same in every process, whether it names the schema or not.
    fn lock_key(&self) -> u64 {
        let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        format!("outbox {}", self.names.prefix).bytes().fold(0xcbf2_9ce4_8422_2325, step)
    }
}

fn create_schema(dialect: Dialect) -> Option<&'static str> {
    match dialect {
        Dialect::Postgres => Some("CREATE SCHEMA IF NOT EXISTS "),
        Dialect::MySql => Some("CREATE DATABASE IF NOT EXISTS "),
        Dialect::Sqlite => None,
    }
}

pub(crate) fn quoted(dialect: Dialect, name: &Identifier) -> String {
    if dialect == Dialect::MySql { format!("`{name}`") } else { format!("\"{name}\"") }
}
