//! Names of tables, the only text from outside that ever becomes part of a statement.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use crate::Dialect;

/// A validated part of a table name: `[a-z_][a-z0-9_]*`, at most [`Identifier::MAX`] bytes, so
/// that every name made from it fits PostgreSQL's 63.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Identifier(Arc<str>);

/// A name that can't be one of a table.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is no valid name: it must match [a-z_][a-z0-9_]* and have 1 to 40 bytes")]
pub struct InvalidName {
    name: String,
}

impl Identifier {
    /// The longest, in bytes.
    pub const MAX: usize = 40;

    /// Checks `name`.
    pub fn new(name: &str) -> Result<Self, InvalidName> {
        let mut bytes = name.bytes();
        let first = bytes.next().is_some_and(|byte| byte.is_ascii_lowercase() || byte == b'_');
        let rest = bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if first && rest && name.len() <= Self::MAX {
            Ok(Self(name.into()))
        } else {
            Err(InvalidName { name: name.chars().take(80).collect() })
        }
    }

    /// A name that the database's catalogue gave, which is whatever its owner wrote.
    pub(crate) fn found(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Identifier {
    type Err = InvalidName;

    fn from_str(name: &str) -> Result<Self, InvalidName> {
        Self::new(name)
    }
}

impl fmt::Display for Identifier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where the tables of one outbox are. Several outboxes can share a database.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Names {
    /// PostgreSQL: the schema; MySQL: the database; SQLite has none. Without it the connection's
    /// own is used (on PostgreSQL, what its `search_path` finds) when the outbox is opened, and
    /// from then on.
    pub schema: Option<Identifier>,
    /// What the names of all tables begin with; `outbox` by default.
    pub prefix: Identifier,
}

impl Default for Names {
    fn default() -> Self {
        Self { schema: None, prefix: Identifier("outbox".into()) }
    }
}

impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.schema {
            Some(schema) => write!(f, "{schema}.{}", self.prefix),
            None => write!(f, "{}", self.prefix),
        }
    }
}

/// The quoted names of one outbox's tables and of what stands beside them.
#[derive(Debug, Clone)]
pub(crate) struct Tables {
    pub(crate) outbox: String,
    pub(crate) dead: String,
    /// The lanes that are parked.
    pub(crate) parked: String,
    pub(crate) audit: String,
    pub(crate) partition: String,
    pub(crate) lease: String,
    pub(crate) relay: String,
    pub(crate) meta: String,
    pub(crate) sequence: String,
    pub(crate) inbox: String,
    /// On MySQL only.
    pub(crate) flush: String,
    /// A function on PostgreSQL, a procedure on MySQL.
    pub(crate) enqueue: String,
}

impl Tables {
    pub(crate) fn new(dialect: Dialect, names: &Names) -> Self {
        // Names are quoted because a valid one may be a keyword, such as `order`.
        let quote = if dialect == Dialect::MySql { '`' } else { '"' };
        let table = |suffix: &str| {
            let table = format!("{quote}{}{suffix}{quote}", names.prefix);
            match &names.schema {
                Some(schema) => {
                    let schema = schema.as_str().replace(quote, &format!("{quote}{quote}"));
                    format!("{quote}{schema}{quote}.{table}")
                }
                None => table,
            }
        };
        Self {
            outbox: table(""),
            dead: table("_dead"),
            parked: table("_parked"),
            audit: table("_audit"),
            partition: table("_partition"),
            lease: table("_lease"),
            relay: table("_relay"),
            meta: table("_meta"),
            sequence: table("_seq"),
            inbox: table("_inbox"),
            flush: table("_flush"),
            enqueue: table("_enqueue"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_plain_names_only() {
        for good in ["outbox", "_a1", "order", &"a".repeat(40)] {
            assert!(Identifier::new(good).is_ok(), "{good}");
        }
        for bad in ["", "1a", "A", "a-b", "a b", "a\"", "ä", "a;", &"a".repeat(41)] {
            assert!(Identifier::new(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn keywords_are_quoted_in_the_dialect_s_way() {
        let names = Names {
            schema: Some(Identifier::new("user").unwrap()),
            prefix: Identifier::new("order").unwrap(),
        };
        assert_eq!(Tables::new(Dialect::Postgres, &names).dead, r#""user"."order_dead""#);
        assert_eq!(Tables::new(Dialect::MySql, &names).outbox, "`user`.`order`");
        let odd = Names { schema: Some(Identifier::found("My\"`S")), ..names };
        assert_eq!(Tables::new(Dialect::Postgres, &odd).outbox, r#""My""`S"."order""#);
        assert_eq!(Tables::new(Dialect::MySql, &odd).outbox, r#"`My"``S`.`order`"#);
    }
}
