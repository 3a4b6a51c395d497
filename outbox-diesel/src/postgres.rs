//! PostgreSQL.

use std::io::Write as _;

use bytes::Bytes;
use diesel::deserialize;
use diesel::pg::{Pg, PgValue};
use diesel::query_builder::AstPass;
use diesel::result::{DatabaseErrorKind, QueryResult};
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{Array, BigInt, Binary, Nullable, Text, Uuid};
use outbox_sql::{Dialect, Type, Value};

use crate::database::backend::Backend;
use crate::database::{Wording, code_of};
use crate::query::Bind;

impl crate::Database for Pg {}

impl Backend for Pg {
    const DIALECT: Dialect = Dialect::Postgres;
    const BEGIN: Option<&'static str> = None;
    const BUSY_TIMEOUT: Option<&'static str> = None;
    const KEEPS_CODES: bool = false;

    fn bind<'b>(pass: &mut AstPass<'_, 'b, Self>, bind: &'b Bind<'_>) -> QueryResult<()> {
        match bind.0 {
            Value::Int(_) | Value::Null(Type::Int) => {
                pass.push_bind_param_value_only::<BigInt, _>(bind)
            }
            Value::Text(_) | Value::Null(Type::Text) => {
                pass.push_bind_param_value_only::<Text, _>(bind)
            }
            Value::Bytes(_) | Value::Null(Type::Bytes) => {
                pass.push_bind_param_value_only::<Binary, _>(bind)
            }
            Value::Uuid(_) | Value::Null(Type::Uuid) => {
                pass.push_bind_param_value_only::<Uuid, _>(bind)
            }
            Value::Ints(_) => pass.push_bind_param_value_only::<Array<BigInt>, _>(bind),
            Value::Texts(_) => pass.push_bind_param_value_only::<Array<Nullable<Text>>, _>(bind),
            Value::Blobs(_) => pass.push_bind_param_value_only::<Array<Binary>, _>(bind),
            Value::Uuids(_) => pass.push_bind_param_value_only::<Array<Uuid>, _>(bind),
        }
    }

    fn get(raw: PgValue<'_>, kind: Type, above: Option<&Value>) -> deserialize::Result<Value> {
        let bytes = raw.as_bytes();
        Ok(match kind {
            Type::Int => Value::Int(i64::from_be_bytes(bytes.try_into()?)),
            Type::Text => Value::from_text_bytes(bytes, above),
            Type::Bytes => Value::Bytes(Bytes::copy_from_slice(bytes)),
            Type::Uuid => Value::Uuid(uuid::Uuid::from_slice(bytes)?),
        })
    }

    fn code(kind: DatabaseErrorKind, message: &str) -> Option<&'static str> {
        match kind {
            DatabaseErrorKind::SerializationFailure => Some("40001"),
            DatabaseErrorKind::ReadOnlyTransaction => Some("25006"),
            _ => code_of(message, &WORDINGS),
        }
    }
}

/// What PostgreSQL says with codes for which Diesel has no kind, where `lc_messages` is English.
/// None of these quotes a value.
const WORDINGS: [Wording; 22] = [
    ("deadlock detected", "", "40P01"),
    ("canceling statement due to lock timeout", "", "55P03"),
    ("could not obtain lock on", "", "55P03"),
    ("canceling statement due to conflict with recovery", "", "40001"),
    ("canceling statement due to", "", "57014"),
    ("terminating connection due to idle-in-transaction timeout", "", "25P03"),
    ("terminating connection", "", "57P01"),
    ("the database system is", "", "57P03"),
    ("sorry, too many clients already", "", "53300"),
    ("remaining connection slots are reserved", "", "53300"),
    ("too many connections for", "", "53300"),
    ("SAVEPOINT can only be used in transaction blocks", "", "25P01"),
    ("current transaction is aborted", "", "25P02"),
    ("permission denied for", "", "42501"),
    ("password authentication failed", "", "28P01"),
    ("no pg_hba.conf entry", "", "28000"),
    ("role \"", "does not exist", "28000"),
    ("database \"", "does not exist", "3D000"),
    ("schema \"", "does not exist", "3F000"),
    ("no schema has been selected to create in", "", "3F000"),
    ("relation \"", "does not exist", "42P01"),
    ("relation \"", "already exists", "42P07"),
];

impl ToSql<Uuid, Pg> for Bind<'_> {
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
        match self.0 {
            Value::Uuid(uuid) => out.write_all(uuid.as_bytes())?,
            _ => return Ok(IsNull::Yes),
        }
        Ok(IsNull::No)
    }
}

/// Binds a slice of what the variant of a value holds as an array.
macro_rules! bind_array {
    ($variant:ident, $sql_type:ty, $item:ty, |$all:ident| $slice:expr) => {
        impl ToSql<Array<$sql_type>, Pg> for Bind<'_> {
            fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, Pg>) -> serialize::Result {
                let Value::$variant($all) = self.0 else { return Ok(IsNull::Yes) };
                <[$item] as ToSql<Array<$sql_type>, Pg>>::to_sql(&$slice[..], &mut out.reborrow())
            }
        }
    };
}

bind_array!(Ints, BigInt, i64, |all| all);
bind_array!(Uuids, Uuid, uuid::Uuid, |all| all);
bind_array!(Blobs, Binary, &[u8], |all| all.iter().map(|b| &**b).collect::<Vec<&[u8]>>());
bind_array!(Texts, Nullable<Text>, Option<&str>, |all| all
    .iter()
    .map(Option::as_deref)
    .collect::<Vec<Option<&str>>>());

#[cfg(feature = "postgres")]
mod url;
