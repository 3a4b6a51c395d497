//! MySQL and MariaDB.

use bytes::Bytes;
use diesel::deserialize::{self, FromSql};
use diesel::mysql::{Mysql, MysqlValue};
use diesel::result::DatabaseErrorKind;
use diesel::sql_types::BigInt;
use outbox_sql::{Dialect, Type, Value};
use uuid::Uuid;

use crate::database::backend::Backend;
use crate::database::{Wording, code_of};
use crate::query::bind_plain_values;

impl crate::Database for Mysql {}

impl Backend for Mysql {
    const DIALECT: Dialect = Dialect::MySql;
    const BEGIN: Option<&'static str> = None;
    const BUSY_TIMEOUT: Option<&'static str> = None;
    const KEEPS_CODES: bool = true;

    bind_plain_values!();

    fn get(raw: MysqlValue<'_>, kind: Type, above: Option<&Value>) -> deserialize::Result<Value> {
        Ok(match kind {
            Type::Int => Value::Int(FromSql::<BigInt, Mysql>::from_sql(raw)?),
            Type::Text => Value::from_text_bytes(raw.as_bytes(), above),
            Type::Bytes => Value::Bytes(Bytes::copy_from_slice(raw.as_bytes())),
            Type::Uuid => Value::Uuid(Uuid::from_slice(raw.as_bytes())?),
        })
    }

    fn code(kind: DatabaseErrorKind, message: &str) -> Option<&'static str> {
        match kind {
            DatabaseErrorKind::SerializationFailure => Some("1213"),
            DatabaseErrorKind::ReadOnlyTransaction => Some("1792"),
            DatabaseErrorKind::UniqueViolation => Some("1062"),
            _ => code_of(message, &WORDINGS),
        }
    }
}

/// What the server says while no connection is there yet on which to ask for the code.
const WORDINGS: [Wording; 3] = [
    ("Too many connections", "", "1040"),
    ("Access denied for user", "", "1045"),
    ("Unknown database", "", "1049"),
];

#[cfg(feature = "mysql")]
impl crate::FromUrl for diesel_async::AsyncMysqlConnection {
    fn is_url(url: &str) -> bool {
        url.starts_with("mysql://")
    }
}
