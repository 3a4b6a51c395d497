//! MySQL and MariaDB.

use outbox_sql::{Dialect, Type, Value};
use sqlx::error::BoxDynError;
use sqlx::mysql::{MySqlArguments, MySqlConnectOptions, MySqlRow};
use sqlx::{Arguments, ConnectOptions, MySql, Row};
use uuid::Uuid;

use crate::database::backend::Backend;
use crate::database::same_for_every_database;

impl crate::Database for MySql {}

impl Backend for MySql {
    const DIALECT: Dialect = Dialect::MySql;
    const BEGIN: Option<&'static str> = None;

    fn own(options: &MySqlConnectOptions) -> MySqlConnectOptions {
        options.clone().disable_statement_logging()
    }

    same_for_every_database!();
}

same_for_every_database!(prepare MySql);

fn bind(arguments: &mut MySqlArguments, value: &Value) -> Result<(), BoxDynError> {
    match value {
        Value::Null(Type::Int) => arguments.add(None::<i64>),
        Value::Null(Type::Text) => arguments.add(None::<&str>),
        Value::Null(Type::Bytes | Type::Uuid) => arguments.add(None::<&[u8]>),
        Value::Int(int) => arguments.add(int),
        Value::Text(text) => arguments.add(&**text),
        Value::Bytes(bytes) => arguments.add(&**bytes),
        Value::Uuid(uuid) => arguments.add(&uuid.as_bytes()[..]),
        Value::Ints(_) | Value::Texts(_) | Value::Blobs(_) | Value::Uuids(_) => {
            Err("arrays are bound on PostgreSQL only".into())
        }
    }
}

fn get(
    row: &MySqlRow,
    index: usize,
    kind: Type,
    above: Option<&Value>,
) -> Result<Value, sqlx::Error> {
    let value = match kind {
        Type::Int => row.try_get_unchecked::<Option<i64>, _>(index)?.map(Value::Int),
        Type::Text => row
            .try_get_unchecked::<Option<&[u8]>, _>(index)?
            .map(|bytes| Value::from_text_bytes(bytes, above)),
        Type::Bytes => row
            .try_get_unchecked::<Option<&[u8]>, _>(index)?
            .map(|bytes| Value::Bytes(bytes.to_vec().into())),
        Type::Uuid => row
            .try_get_unchecked::<Option<&[u8]>, _>(index)?
            .map(|bytes| Uuid::from_slice(bytes).map(Value::Uuid))
            .transpose()
            .map_err(|error| sqlx::Error::Decode(error.into()))?,
    };
    Ok(value.unwrap_or(Value::Null(kind)))
}
