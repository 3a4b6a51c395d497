//! Finding out, before anything is done, whether an outbox is there and fit for use.

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Partition, StoreError, StoreErrorKind};

use crate::failure::{Failure, schema, standby};
use crate::name::Tables;
use crate::pooler::slots;
use crate::row::Columns;
use crate::slot::Operation;
use crate::statement::Sql;
use crate::store::Context;
use crate::version;
use crate::{Dialect, Driver, Identifier, Names, Session, StoreConfig, Type, VERSION, Value};

/// What an outbox says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Info {
    /// Where its tables were found: another connection of the same user may look elsewhere.
    pub names: Names,
    /// The version of its tables.
    pub version: i64,
    /// How many partitions it has, for ever.
    pub partitions: u16,
    /// MySQL and MariaDB: the largest statement that the server takes, in bytes.
    pub largest_statement: Option<u64>,
    /// The server knows within a statement whether that is in a transaction, as MariaDB does.
    pub(crate) knows_transactions: bool,
    /// A pooler is in between that gives each transaction another connection.
    pub(crate) pooled: bool,
}

/// Reads what the outbox `names` says of itself, and refuses one that this code can't use; see
/// [`SqlStore::open`](crate::SqlStore::open).
pub async fn inspect<D: Driver>(driver: &D, names: &Names) -> Result<Info, StoreError> {
    let config = StoreConfig { names: names.clone(), ..StoreConfig::default() };
    let open = Open { context: Context::new(driver.dialect(), &config), names: names.clone() };
    let slot = &slots(driver, &config, 1).await?[0];
    let info = slot.run(driver, &config, &open).await?;
    Ok(Info { pooled: slot.is_pooled(), ..info })
}

/// Like [`inspect`], on a connection of the user's.
pub async fn inspect_on<S: Session>(
    session: &mut S,
    dialect: Dialect,
    names: &Names,
) -> Result<Info, StoreError> {
    let config = StoreConfig { names: names.clone(), ..StoreConfig::default() };
    let open = Open { context: Context::new(dialect, &config), names: names.clone() };
    open.run(session).await.map_err(|failure| failure.into_store_error(Open::NAME))
}

/// For adapters whose own connections may look elsewhere than the user's: on PostgreSQL, `names`
/// with the schema in which `session` finds the outbox or, if there is none, would create it.
pub async fn locate<S: Session>(
    session: &mut S,
    dialect: Dialect,
    names: &Names,
) -> Result<Names, StoreError> {
    if dialect != Dialect::Postgres || names.schema.is_some() {
        return Ok(names.clone());
    }
    let mut sql = Sql::new(
        dialect,
        "SELECT coalesce((SELECT nspname FROM pg_namespace JOIN pg_class \
           ON relnamespace = pg_namespace.oid WHERE pg_class.oid = to_regclass(",
    );
    sql.bind(Tables::new(dialect, names).meta.as_str()).push(")), current_schema())::text");
    let failed = |failure: Failure| failure.into_store_error(Open::NAME);
    let schema = text(session, sql).await.map_err(failed)?;
    Ok(Names { schema: schema.map(|name| Identifier::found(&name)), ..names.clone() })
}

/// Opening an outbox.
#[derive(Debug)]
pub(crate) struct Open {
    pub(crate) context: Context,
    pub(crate) names: Names,
}

#[async_trait]
impl Operation for Open {
    type Output = Info;
    const NAME: &'static str = "opening the outbox";

    async fn run<S: Session>(&self, session: &mut S) -> Result<Info, Failure> {
        let names = &self.names;
        check_server(session, self.context.dialect, names).await?;
        let Some(info) = installed(session, &self.context, names).await? else {
            return Err(schema(format!("there is no outbox `{names}`: run its migration first")));
        };
        if info.version > VERSION {
            return Err(newer(names, info.version));
        }
        if info.version < VERSION {
            let version = info.version;
            let context = format!(
                "the outbox `{names}` has version {version} of its tables, this program needs \
                 {VERSION}: run its migration first"
            );
            return Err(schema(context));
        }
        self.check_tables(session).await?;
        let schema = self.schema(session).await?;
        Ok(Info { names: Names { schema, ..info.names }, ..info })
    }
}

impl Open {
    /// In which schema the tables are.
    async fn schema<S: Session>(&self, session: &mut S) -> Result<Option<Identifier>, Failure> {
        let mut sql = Sql::new(self.context.dialect, "");
        match self.context.dialect {
            _ if self.names.schema.is_some() => return Ok(self.names.schema.clone()),
            Dialect::Sqlite => return Ok(None),
            Dialect::MySql => sql.push("SELECT DATABASE()"),
            Dialect::Postgres => {
                sql.push("SELECT nspname::text FROM pg_namespace JOIN pg_class ON ");
                sql.push("relnamespace = pg_namespace.oid WHERE pg_class.oid = to_regclass(");
                sql.bind(self.context.tables.meta.as_str()).push(")")
            }
        };
        Ok(text(session, sql).await?.map(|name| Identifier::found(&name)))
    }

    async fn check_tables<S: Session>(&self, session: &mut S) -> Result<(), Failure> {
        let names = &self.names;
        match self.context.dialect {
            Dialect::Sqlite => {}
            Dialect::Postgres => {
                let mut sql = Sql::new(
                    Dialect::Postgres,
                    "SELECT seqcache FROM pg_sequence WHERE seqrelid = to_regclass(",
                );
                sql.bind(self.context.tables.sequence.as_str()).push(")");
                if number(session, sql).await? != Some(1) {
                    let sequence = &self.context.tables.sequence;
                    return Err(schema(format!(
                        "the sequence {sequence} must exist and have CACHE 1: with a larger one \
                         numbers come out of order, and messages would be skipped"
                    )));
                }
            }
            Dialect::MySql => {
                let mut sql = count_tables(names, "");
                sql.push(" AND engine = 'InnoDB'");
                if number(session, sql).await? != Some(1) {
                    return Err(schema(format!("the tables of `{names}` must be InnoDB's")));
                }
            }
        }
        Ok(())
    }
}

/// MySQL: 1 if the server takes writes from its replication only. Newer versions of MariaDB answer
/// with a word.
macro_rules! read_only {
    () => {
        "CASE WHEN CAST(@@global.read_only AS CHAR) IN ('0', 'OFF') THEN 0 ELSE 1 END"
    };
}
pub(crate) use read_only;

pub(crate) fn newer(names: &Names, version: i64) -> Failure {
    schema(format!(
        "the outbox `{names}` has version {version} of its tables, which is newer than the \
         {VERSION} that this program knows: update the program"
    ))
}

/// What can't hold an outbox, whatever its tables.
pub(crate) async fn check_server<S: Session>(
    session: &mut S,
    dialect: Dialect,
    names: &Names,
) -> Result<(), Failure> {
    version::check(session, dialect).await?;
    let unsuited = match dialect {
        Dialect::Postgres => "SELECT CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END::bigint",
        Dialect::MySql => concat!("SELECT ", read_only!()),
        // The main database's file has no name if it is in memory or temporary.
        Dialect::Sqlite => "SELECT file = '' FROM pragma_database_list WHERE name = 'main'",
    };
    let unsuited = number(session, Sql::new(dialect, unsuited)).await? == Some(1);
    match dialect {
        Dialect::Sqlite if names.schema.is_some() => {
            Err(schema("SQLite has no schemas: set a prefix only"))
        }
        Dialect::Sqlite if unsuited => {
            let context = "an outbox can't be in an in-memory SQLite database: every connection \
                           would see another one, and a crash would lose all";
            Err(schema(context))
        }
        Dialect::Postgres | Dialect::MySql if unsuited => Err(standby()),
        _ => Ok(()),
    }
}

/// Reads the meta table, if it exists.
pub(crate) async fn installed<S: Session>(
    session: &mut S,
    context: &Context,
    names: &Names,
) -> Result<Option<Info>, Failure> {
    // The catalogue is asked first, as SQLite has no code of its own for a missing table.
    let mut exists = Sql::new(context.dialect, "");
    match context.dialect {
        Dialect::Postgres => {
            exists.push("SELECT CASE WHEN to_regclass(").bind(context.tables.meta.as_str());
            exists.push(") IS NULL THEN 0 ELSE 1 END::bigint");
        }
        Dialect::MySql => exists = count_tables(names, "_meta"),
        Dialect::Sqlite => {
            exists.push("SELECT count(*) FROM sqlite_master WHERE type = 'table' AND name = ");
            exists.bind(format!("{}_meta", names.prefix).as_str());
        }
    }
    if number(session, exists).await? != Some(1) {
        return Ok(None);
    }
    let (packet, mariadb) = match context.dialect {
        Dialect::MySql => {
            ("CAST(@@max_allowed_packet AS SIGNED)", "CAST(VERSION() LIKE '%MariaDB%' AS SIGNED)")
        }
        Dialect::Postgres | Dialect::Sqlite => ("NULL", "NULL"),
    };
    let [version, partitions] = ["version", "partitions"].map(|name| context.dialect.int(name));
    let sql = Sql::new(
        context.dialect,
        format!("SELECT {version}, {partitions}, {packet}, {mariadb} FROM {}", context.tables.meta),
    );
    let rows = session.query(&sql.finish(&[Type::Int; 4])).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let mut row = Columns::new(row);
    let (version, count) = (row.int()?, row.int()?);
    let partitions = u16::try_from(count).ok().filter(|n| (1..=Partition::MAX_COUNT).contains(n));
    let partitions = partitions.ok_or_else(|| {
        schema(format!("the outbox `{names}` says that it has {count} partitions"))
    })?;
    let largest_statement = row.optional_int()?.and_then(|bytes| u64::try_from(bytes).ok());
    let knows_transactions = row.optional_int()? == Some(1);
    let names = names.clone();
    let pooled = false;
    Ok(Some(Info { names, version, partitions, largest_statement, knows_transactions, pooled }))
}

/// Whether MySQL has that table of the outbox's.
pub(crate) async fn is_there<S: Session>(
    session: &mut S,
    names: &Names,
    suffix: &str,
) -> Result<bool, Failure> {
    Ok(number(session, count_tables(names, suffix)).await? == Some(1))
}

fn count_tables(names: &Names, suffix: &str) -> Sql {
    let mut sql = Sql::new(Dialect::MySql, "SELECT COUNT(*) FROM information_schema.tables");
    let schema = names.schema.as_ref().map_or(Value::Null(Type::Text), |s| s.as_str().into());
    sql.push(" WHERE table_schema = COALESCE(").bind(schema).push(", DATABASE())");
    sql.push(" AND table_name = ").bind(format!("{}{suffix}", names.prefix).as_str());
    sql
}

/// The first column of the first row.
pub(crate) async fn number<S: Session>(session: &mut S, sql: Sql) -> Result<Option<i64>, Failure> {
    let mut statement = sql.finish(&[Type::Int]);
    statement.cached = false;
    match session.query(&statement).await?.into_iter().next() {
        Some(row) => Columns::new(row).optional_int(),
        None => Ok(None),
    }
}

/// Likewise, if it is text.
async fn text<S: Session>(session: &mut S, sql: Sql) -> Result<Option<Arc<str>>, Failure> {
    let mut statement = sql.finish(&[Type::Text]);
    statement.cached = false;
    match session.query(&statement).await?.into_iter().next() {
        Some(row) => Columns::new(row).text("schema", &mut None),
        None => Ok(None),
    }
}

/// An outbox can't have that many partitions.
pub(crate) fn check_count(partitions: u16) -> Result<(), StoreError> {
    if (1..=Partition::MAX_COUNT).contains(&partitions) {
        return Ok(());
    }
    let most = Partition::MAX_COUNT;
    let context = format!("an outbox has 1 to {most} partitions, not {partitions}");
    Err(StoreError::new(StoreErrorKind::Schema, context))
}
