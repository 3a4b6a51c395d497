//! SQLite.

use bytes::Bytes;
use diesel::deserialize;
use diesel::result::DatabaseErrorKind;
use diesel::sqlite::{Sqlite, SqliteValue};
// Its features choose the SQLite that Diesel links.
use libsqlite3_sys as _;
use outbox_sql::{Dialect, Type, Value};
use uuid::Uuid;

use crate::database::backend::Backend;
use crate::database::{Wording, code_of};
use crate::query::bind_plain_values;

impl crate::Database for Sqlite {}

impl Backend for Sqlite {
    const DIALECT: Dialect = Dialect::Sqlite;
    const BEGIN: Option<&'static str> = Some("BEGIN IMMEDIATE");
    const BUSY_TIMEOUT: Option<&'static str> = Some("PRAGMA busy_timeout");
    const KEEPS_CODES: bool = false;

    bind_plain_values!();

    fn get(
        mut raw: SqliteValue<'_, '_, '_>,
        kind: Type,
        above: Option<&Value>,
    ) -> deserialize::Result<Value> {
        Ok(match kind {
            Type::Int => Value::Int(raw.read_long()),
            Type::Text => Value::from_text_bytes(raw.read_blob(), above),
            Type::Bytes => Value::Bytes(Bytes::copy_from_slice(raw.read_blob())),
            Type::Uuid => Value::Uuid(Uuid::from_slice(raw.read_blob())?),
        })
    }

    fn code(_: DatabaseErrorKind, message: &str) -> Option<&'static str> {
        code_of(message, &WORDINGS)
    }
}

/// What SQLite says, in every locale, with codes for which Diesel has no kind. None of these quotes
/// a value.
const WORDINGS: [Wording; 15] = [
    ("database is locked", "", "5"),
    ("cannot commit transaction - SQL statements in progress", "", "5"),
    ("database table is locked", "", "6"),
    ("database schema is locked", "", "6"),
    ("attempt to write a readonly database", "", "8"),
    ("disk I/O error", "", "10"),
    ("database disk image is malformed", "", "11"),
    ("database or disk is full", "", "13"),
    ("unable to open database file", "", "14"),
    ("file is not a database", "", "26"),
    ("cannot start a transaction within a transaction", "", "1"),
    ("cannot commit - no transaction is active", "", "1"),
    ("cannot rollback - no transaction is active", "", "1"),
    ("no such table: ", "", "1"),
    ("no such column: ", "", "1"),
];

#[cfg(feature = "sqlite")]
impl crate::FromUrl
    for diesel_async::sync_connection_wrapper::SyncConnectionWrapper<diesel::SqliteConnection>
{
    fn is_url(_: &str) -> bool {
        true
    }
}
