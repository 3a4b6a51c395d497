//! A connection of SeaORM's that the user lends.

use async_trait::async_trait;
use outbox_sql::{Dialect, DriverError, Row, Session, Statement, Type, Value};
use sea_orm::{ConnectionTrait, DbBackend, DbErr, QueryResult};
use uuid::Uuid;

use crate::Error;
use crate::error::sort;

/// Anything of SeaORM's that executes. If it is a pool, each call has a connection of its own.
#[derive(Debug)]
pub(crate) struct Lent<'c, C> {
    connection: &'c C,
    dialect: Dialect,
}

impl<'c, C: ConnectionTrait> Lent<'c, C> {
    /// Refuses a connection to another kind of database than the outbox's, which SeaORM's types let
    /// through.
    pub(crate) fn new(
        connection: &'c C,
        dialect: Dialect,
        context: &'static str,
    ) -> Result<Self, Error> {
        let found = connection.get_database_backend();
        if found == backend(dialect) {
            return Ok(Self { connection, dialect });
        }
        let told = format!("the outbox is in {}, the connection is to {found:?}", dialect.name());
        Err(Error::database(context, DriverError::other(told)))
    }

    /// SeaORM takes values by value and copies them once more for sqlx: this is the first copy.
    fn statement(&self, statement: &Statement) -> sea_orm::Statement {
        let values = statement.binds.iter().map(|value| self.bound(value));
        let mut text = statement.text.clone();
        if statement.binds.iter().any(|value| matches!(value, Value::Texts(_))) {
            // sqlx keeps a prepared statement under its text, with the types that were bound first.
            // Who enqueues by sqlx itself on the same connection binds arrays.
            text.push_str(" -- texts in array literals");
        }
        sea_orm::Statement::from_sql_and_values(backend(self.dialect), text, values)
    }

    fn bound(&self, value: &Value) -> sea_orm::Value {
        let postgres = self.dialect == Dialect::Postgres;
        match value {
            Value::Null(Type::Int) => None::<i64>.into(),
            Value::Null(Type::Text) => None::<String>.into(),
            Value::Null(Type::Uuid) if postgres => None::<Uuid>.into(),
            Value::Null(Type::Bytes | Type::Uuid) => None::<Vec<u8>>.into(),
            Value::Int(int) => (*int).into(),
            Value::Text(text) => (**text).into(),
            Value::Bytes(bytes) => bytes.to_vec().into(),
            Value::Uuid(uuid) if postgres => (*uuid).into(),
            Value::Uuid(uuid) => uuid.as_bytes().to_vec().into(),
            // SeaORM panics at a null in an array.
            Value::Texts(all) => array_literal(all.iter().map(Option::as_deref)).into(),
            #[cfg(feature = "postgres")]
            Value::Ints(all) => all.clone().into(),
            #[cfg(feature = "postgres")]
            Value::Blobs(all) => all.iter().map(|bytes| bytes.to_vec()).collect::<Vec<_>>().into(),
            #[cfg(feature = "postgres")]
            Value::Uuids(all) => all.clone().into(),
            #[cfg(not(feature = "postgres"))]
            Value::Ints(_) | Value::Blobs(_) | Value::Uuids(_) => {
                unreachable!("arrays are bound on PostgreSQL only")
            }
        }
    }

    fn returned(&self, row: &QueryResult, index: usize, kind: Type) -> Result<Value, DbErr> {
        let bytes = || row.try_get_by_index::<Option<Vec<u8>>>(index);
        let value = match kind {
            Type::Int => row.try_get_by_index::<Option<i64>>(index)?.map(Value::Int),
            Type::Text => match row.try_get_by_index::<Option<String>>(index) {
                Ok(text) => text.map(|text| Value::Text(text.into())),
                // It is no UTF-8, or in a binary column.
                Err(_) => bytes()?.map(|bytes| Value::from_text_bytes(&bytes, None)),
            },
            Type::Bytes => bytes()?.map(|bytes| Value::Bytes(bytes.into())),
            Type::Uuid if self.dialect == Dialect::Postgres => {
                row.try_get_by_index::<Option<Uuid>>(index)?.map(Value::Uuid)
            }
            Type::Uuid => bytes()?
                .map(|bytes| Uuid::from_slice(&bytes).map(Value::Uuid))
                .transpose()
                .map_err(|error| DbErr::Type(error.to_string()))?,
        };
        Ok(value.unwrap_or(Value::Null(kind)))
    }
}

#[async_trait]
impl<C: ConnectionTrait> Session for Lent<'_, C> {
    async fn run(&mut self, text: &str) -> Result<(), DriverError> {
        let done = self.connection.execute_unprepared(text).await;
        done.map(|_| ()).map_err(|error| sort(self.dialect, error))
    }

    async fn execute(&mut self, statement: &Statement) -> Result<u64, DriverError> {
        let done = self.connection.execute_raw(self.statement(statement)).await;
        done.map(|done| done.rows_affected()).map_err(|error| sort(self.dialect, error))
    }

    async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, DriverError> {
        let rows = self.connection.query_all_raw(self.statement(statement)).await;
        let read = |row: &QueryResult| {
            let columns = statement.columns.iter().enumerate();
            columns.map(|(index, kind)| self.returned(row, index, *kind)).collect()
        };
        let rows = rows.and_then(|rows| rows.iter().map(read).collect());
        rows.map_err(|error| sort(self.dialect, error))
    }
}

fn backend(dialect: Dialect) -> DbBackend {
    match dialect {
        Dialect::Postgres => DbBackend::Postgres,
        Dialect::MySql => DbBackend::MySql,
        Dialect::Sqlite => DbBackend::Sqlite,
    }
}

/// An array as PostgreSQL reads it from text.
fn array_literal<'t>(texts: impl Iterator<Item = Option<&'t str>>) -> String {
    let mut literal = String::from("{");
    for text in texts {
        if literal.len() > 1 {
            literal.push(',');
        }
        let Some(text) = text else {
            literal.push_str("NULL");
            continue;
        };
        literal.push('"');
        for character in text.chars() {
            if matches!(character, '"' | '\\') {
                literal.push('\\');
            }
            literal.push(character);
        }
        literal.push('"');
    }
    literal.push('}');
    literal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_end_a_text_is_escaped() {
        let texts = [Some("a"), None, Some(""), Some("NULL"), Some(r#"",\}{"#)];
        let literal = r#"{"a",NULL,"","NULL","\",\\}{"}"#;
        assert_eq!(array_literal(texts.into_iter()), literal);
        assert_eq!(array_literal(std::iter::empty()), "{}");
    }
}
