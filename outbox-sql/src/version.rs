//! Servers that are too old to hold an outbox.

use crate::failure::{Failure, schema};
use crate::row::Columns;
use crate::statement::Sql;
use crate::{Dialect, Session, Type};

/// Refuses a server that doesn't know the SQL that is written here, before it says so itself in
/// words that explain nothing.
pub(crate) async fn check<S: Session>(session: &mut S, dialect: Dialect) -> Result<(), Failure> {
    let question = match dialect {
        Dialect::Postgres => "SELECT current_setting('server_version')",
        Dialect::MySql => "SELECT VERSION()",
        Dialect::Sqlite => "SELECT sqlite_version()",
    };
    let mut statement = Sql::new(dialect, question).finish(&[Type::Text]);
    statement.cached = false;
    let row = session.query(&statement).await?.into_iter().next();
    let version = row.map(|row| Columns::new(row).text("version", &mut None)).transpose()?;
    match too_old(dialect, version.flatten().as_deref().unwrap_or_default()) {
        Some(problem) => Err(schema(problem)),
        None => Ok(()),
    }
}

/// What is wrong with a version, if it can be told.
fn too_old(dialect: Dialect, version: &str) -> Option<String> {
    let (name, oldest, lacks) = match dialect {
        Dialect::Postgres => ("PostgreSQL", "14", "functions of SQL's own kind"),
        Dialect::MySql if version.contains("MariaDB") => ("MariaDB", "10.6", "`SKIP LOCKED`"),
        Dialect::MySql => ("MySQL", "8.0.16", "`CHECK` constraints"),
        Dialect::Sqlite => ("SQLite", "3.37", "strict tables"),
    };
    (numbers(version)? < numbers(oldest)?).then(|| {
        format!(
            "{name} {version} is too old for an outbox: it lacks {lacks}, which came with {oldest}"
        )
    })
}

/// The numbers that it begins with; those that are missing are 0.
fn numbers(version: &str) -> Option<[u32; 3]> {
    let end = version.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(version.len());
    let mut parts = version[..end].split('.').map(str::parse);
    let mut next = || parts.next().unwrap_or(Ok(0)).ok();
    Some([next()?, next().unwrap_or(0), next().unwrap_or(0)])
}

#[cfg(test)]
mod tests {
    use super::*;
    use Dialect::{MySql, Postgres, Sqlite};

    #[test]
    fn only_what_is_known_to_be_too_old_is_refused() {
        for (dialect, version, problem) in [
            (Postgres, "13.22", Some("PostgreSQL 13.22 is too old")),
            (Postgres, "14.0", None),
            (Postgres, "15.10 (Debian 15.10-0+deb12u1)", None),
            (Postgres, "19beta1", None),
            (MySql, "10.5.29-MariaDB-0+deb11u1", Some("`SKIP LOCKED`, which came with 10.6")),
            (MySql, "10.6.0-MariaDB", None),
            (MySql, "11.8.2-MariaDB-log", None),
            (MySql, "8.0.15", Some("MySQL 8.0.15 is too old")),
            (MySql, "5.7.44-log", Some("`CHECK` constraints, which came with 8.0.16")),
            (MySql, "8.0.16", None),
            (MySql, "8.4.3-3", None),
            (MySql, "9.1.0", None),
            (Sqlite, "3.36.0", Some("strict tables, which came with 3.37")),
            (Sqlite, "3.37.0", None),
            (MySql, "unheard of", None),
            (MySql, "", None),
        ] {
            let told = too_old(dialect, version);
            match problem {
                Some(problem) => assert!(told.clone().unwrap().contains(problem), "{told:?}"),
                None => assert_eq!(told, None),
            }
        }
    }
}
