//! Statements as data.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use uuid::Uuid;

use crate::{Dialect, DriverError};

/// One statement: text with placeholders (`$1` on PostgreSQL, `?` elsewhere), what is bound to
/// them, and the types of the columns that it returns.
#[derive(Debug, Clone)]
pub struct Statement {
    /// The text. It depends on names and sizes only, never on values.
    pub text: String,
    /// What is bound, in the order of the placeholders.
    pub binds: Vec<Value>,
    /// The types of the columns that come back; any of them may be null.
    pub columns: &'static [Type],
    /// The text comes again often enough to be worth a place in a cache of prepared statements.
    pub cached: bool,
}

/// The type of a column or of a null that is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// A 64-bit signed integer.
    Int,
    /// Text. It is [`Value::Bytes`] if what comes back is no UTF-8.
    Text,
    /// Bytes.
    Bytes,
    /// `uuid` on PostgreSQL, sixteen bytes elsewhere.
    Uuid,
}

/// A value that is bound or comes back. Arrays are bound on PostgreSQL only and never come back.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Null, of that type.
    Null(Type),
    /// A 64-bit signed integer.
    Int(i64),
    /// Text.
    Text(Arc<str>),
    /// Bytes.
    Bytes(Bytes),
    /// A UUID.
    Uuid(Uuid),
    /// An array of integers (`bigint[]`).
    Ints(Vec<i64>),
    /// An array of texts (`text[]`).
    Texts(Vec<Option<Arc<str>>>),
    /// An array of bytes (`bytea[]`).
    Blobs(Vec<Bytes>),
    /// An array of UUIDs (`uuid[]`).
    Uuids(Vec<Uuid>),
}

/// A row that came back.
pub type Row = Vec<Value>;

impl Value {
    /// Text that came back as bytes: [`Value::Text`] if it is UTF-8, else [`Value::Bytes`]. Most
    /// rows say the same as the row `above`: then they share one text.
    pub fn from_text_bytes(bytes: &[u8], above: Option<&Self>) -> Self {
        if let Some(Self::Text(text)) = above
            && text.as_bytes() == bytes
        {
            return Self::Text(Arc::clone(text));
        }
        match std::str::from_utf8(bytes) {
            Ok(text) => Self::Text(text.into()),
            Err(_) => Self::Bytes(Bytes::copy_from_slice(bytes)),
        }
    }

    pub(crate) fn text(text: Option<&Arc<str>>) -> Self {
        text.map_or(Self::Null(Type::Text), |text| Self::Text(Arc::clone(text)))
    }
}

/// Values are payloads and keys: only their shape may be printed.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null(kind) => write!(f, "Null({kind:?})"),
            Self::Int(int) => write!(f, "Int({int})"),
            Self::Text(text) => write!(f, "Text({} bytes)", text.len()),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
            Self::Uuid(uuid) => write!(f, "Uuid({uuid})"),
            Self::Ints(all) => write!(f, "Ints({} values)", all.len()),
            Self::Texts(all) => write!(f, "Texts({} values)", all.len()),
            Self::Blobs(all) => write!(f, "Blobs({} values)", all.len()),
            Self::Uuids(all) => write!(f, "Uuids({} values)", all.len()),
        }
    }
}

macro_rules! value_from {
    ($($from:ty => $variant:ident),+ $(,)?) => {$(
        impl From<$from> for Value {
            fn from(value: $from) -> Self {
                Self::$variant(value.into())
            }
        }
    )+};
}

value_from!(i64 => Int, u32 => Int, u16 => Int, Arc<str> => Text, &str => Text, Bytes => Bytes,
    Uuid => Uuid, Vec<i64> => Ints, Vec<Uuid> => Uuids, Vec<Option<Arc<str>>> => Texts,
    Vec<Bytes> => Blobs);

/// Builds a statement piece by piece.
#[derive(Debug)]
pub(crate) struct Sql {
    dialect: Dialect,
    text: String,
    binds: Vec<Value>,
}

impl Sql {
    pub(crate) fn new(dialect: Dialect, text: impl Into<String>) -> Self {
        Self { dialect, text: text.into(), binds: Vec::new() }
    }

    pub(crate) fn push(&mut self, text: &str) -> &mut Self {
        self.text.push_str(text);
        self
    }

    /// Writes the next placeholder and binds `value` to it.
    pub(crate) fn bind(&mut self, value: impl Into<Value>) -> &mut Self {
        let placeholder = self.placeholder(value);
        self.push(&placeholder)
    }

    /// The next placeholder, bound to `value` and to be written by the caller at once.
    pub(crate) fn placeholder(&mut self, value: impl Into<Value>) -> String {
        self.binds.push(value.into());
        match self.dialect {
            Dialect::Postgres => format!("${}", self.binds.len()),
            Dialect::MySql | Dialect::Sqlite => "?".to_owned(),
        }
    }

    /// Writes a condition that holds for one of `values`, which must not be empty.
    pub(crate) fn one_of(&mut self, values: &[i64]) -> &mut Self {
        if self.dialect == Dialect::Postgres {
            return self.push(" = ANY(").bind(values.to_vec()).push(")");
        }
        self.push(" IN (");
        for (index, value) in padded(values).enumerate() {
            self.push(if index == 0 { "" } else { ", " }).bind(*value);
        }
        self.push(")")
    }

    /// Binds `value`; if `guarded`, so that MariaDB refuses the statement outside of a transaction,
    /// whatever the `sql_mode`: it evaluates what gives too many rows there only (see
    /// [`outside_of_one`]).
    pub(crate) fn bind_guarded(&mut self, value: impl Into<Value>, guarded: bool) -> &mut Self {
        if !guarded {
            return self.bind(value);
        }
        self.push("IF(@@in_transaction, ").bind(value).push(", (SELECT 1 UNION ALL SELECT 2))")
    }

    pub(crate) fn finish(self, columns: &'static [Type]) -> Statement {
        Statement { text: self.text, binds: self.binds, columns, cached: true }
    }
}

/// On PostgreSQL, holds in a transaction that has written something before this statement, and
/// never outside of one: a statement that stands alone has no transaction's id before it writes.
pub(crate) const HAS_WRITTEN: &str = "pg_current_xact_id_if_assigned() IS NOT NULL";

/// Whether `error` says that a statement with [`Sql::bind_guarded`] was in no transaction.
pub(crate) fn outside_of_one(error: &DriverError) -> bool {
    error.code() == Some("1242")
}

/// `values` with the last one repeated up to a power of two, so that the texts that differ in
/// length only are few and a cache of prepared statements can hold them.
pub(crate) fn padded<T>(values: &[T]) -> impl Iterator<Item = &T> {
    let padding =
        if values.is_empty() { 0 } else { values.len().next_power_of_two() - values.len() };
    values.iter().chain(values.last().into_iter().cycle().take(padding))
}

/// How many of `count` things go into the next statement: a power of two, so that texts are few
/// here, too. `count` must not be 0.
///
/// What isn't cached costs more than being prepared anew. On MySQL sqlx closes it without waiting,
/// as no answer comes, and doesn't switch Nagle's algorithm off: whatever is sent next on that
/// connection waits for the server's delayed acknowledgement, 40 ms.
pub(crate) fn step(count: usize) -> usize {
    1 << count.ilog2()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_shows_no_content() {
        let values = [Value::from("canary"), Value::Bytes("canary".into())];
        let statement =
            Statement { text: "t".into(), binds: values.to_vec(), columns: &[], cached: true };
        assert!(!format!("{statement:?}").contains("canary"));
    }

    #[test]
    fn lists_have_few_lengths() {
        let lengths = |n: usize| padded(&vec![1; n]).count();
        assert_eq!([0, 1, 2, 3, 5, 9].map(lengths), [0, 1, 2, 4, 8, 16]);
        assert_eq!(padded(&[1, 2, 3]).copied().collect::<Vec<_>>(), [1, 2, 3, 3]);
    }
}
