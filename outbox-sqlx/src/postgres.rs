//! PostgreSQL.

use outbox_sql::{Dialect, Type, Value};
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArguments, PgConnectOptions, PgRow};
use sqlx::{Arguments, ConnectOptions, Postgres, Row};
use uuid::Uuid;

use crate::database::backend::Backend;
use crate::database::same_for_every_database;

impl crate::Database for Postgres {}

impl Backend for Postgres {
    const DIALECT: Dialect = Dialect::Postgres;
    const BEGIN: Option<&'static str> = None;

    fn own(options: &PgConnectOptions) -> PgConnectOptions {
        // PgBouncer lets nobody in who asks for a number of digits; nothing here has any.
        options.clone().extra_float_digits(None).disable_statement_logging()
    }

    same_for_every_database!();
}

same_for_every_database!(prepare Postgres);

fn bind(arguments: &mut PgArguments, value: &Value) -> Result<(), BoxDynError> {
    match value {
        Value::Null(Type::Int) => arguments.add(None::<i64>),
        Value::Null(Type::Text) => arguments.add(None::<&str>),
        Value::Null(Type::Bytes) => arguments.add(None::<&[u8]>),
        Value::Null(Type::Uuid) => arguments.add(None::<Uuid>),
        Value::Int(int) => arguments.add(int),
        Value::Text(text) => arguments.add(&**text),
        Value::Bytes(bytes) => arguments.add(&**bytes),
        Value::Uuid(uuid) => arguments.add(uuid),
        Value::Ints(all) => arguments.add(&all[..]),
        Value::Texts(all) => {
            arguments.add(all.iter().map(Option::as_deref).collect::<Vec<Option<&str>>>())
        }
        Value::Blobs(all) => arguments.add(all.iter().map(|b| &**b).collect::<Vec<&[u8]>>()),
        Value::Uuids(all) => arguments.add(&all[..]),
    }
}

fn get(row: &PgRow, index: usize, kind: Type, above: Option<&Value>) -> Result<Value, sqlx::Error> {
    let value = match kind {
        Type::Int => row.try_get_unchecked::<Option<i64>, _>(index)?.map(Value::Int),
        Type::Text => row
            .try_get_unchecked::<Option<&[u8]>, _>(index)?
            .map(|bytes| Value::from_text_bytes(bytes, above)),
        Type::Bytes => row
            .try_get_unchecked::<Option<&[u8]>, _>(index)?
            .map(|bytes| Value::Bytes(bytes.to_vec().into())),
        Type::Uuid => row.try_get_unchecked::<Option<Uuid>, _>(index)?.map(Value::Uuid),
    };
    Ok(value.unwrap_or(Value::Null(kind)))
}
