//! The tables, version by version.

mod mysql;
mod postgres;
mod sqlite;

use crate::name::Tables;
use crate::{Dialect, Names};

/// The version of the tables that this code works with.
pub const VERSION: i64 = 2;

/// What leads to one version of the tables from the one before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Migration {
    /// The version that it leads to, from 1.
    pub version: i64,
    /// Run them in this order, as they are and not prepared.
    pub statements: Vec<String>,
}

/// All migrations, ascending by version. What has been released is never changed again.
pub(crate) fn migrations(dialect: Dialect, names: &Names, partitions: u16) -> Vec<Migration> {
    let tables = Tables::new(dialect, names);
    let versions = match dialect {
        Dialect::Postgres => {
            [postgres::version_1(&tables, names, partitions), postgres::version_2(&tables, names)]
        }
        Dialect::MySql => [mysql::version_1(&tables, partitions), mysql::version_2(&tables)],
        Dialect::Sqlite => {
            [sqlite::version_1(&tables, names, partitions), sqlite::version_2(&tables, names)]
        }
    };
    let migration = |(version, statements)| Migration { version, statements };
    (1..).zip(versions).map(migration).collect()
}

/// A row for each partition in the tables that have one. What is there stays: MySQL can't undo a
/// migration that broke off halfway, so that it may be run again.
fn partition_rows(dialect: Dialect, tables: &Tables, partitions: u16) -> Vec<String> {
    let rows: Vec<_> = (0..partitions).map(|number| format!("({number})")).collect();
    let rows = rows.join(", ");
    let (insert, ignore) = match dialect {
        Dialect::MySql => ("INSERT IGNORE", ""),
        Dialect::Postgres | Dialect::Sqlite => ("INSERT", " ON CONFLICT DO NOTHING"),
    };
    [&tables.partition, &tables.lease]
        .map(|table| format!("{insert} INTO {table} (partition_no) VALUES {rows}{ignore}"))
        .into()
}
