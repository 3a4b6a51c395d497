//! Statements as Diesel's queries, and Diesel's rows as values.

use std::fmt;

use diesel::backend::Backend;
use diesel::deserialize;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::{Error, QueryResult};
use diesel::row::Field as _;
use diesel::serialize::{self, IsNull, Output, ToSql};
use diesel::sql_types::{BigInt, Binary, Text, Untyped};
use outbox_sql::{Row, Statement, Value};

use crate::Database;

/// A statement as a query. Its text is the key in the connection's cache of prepared statements.
pub(crate) struct SqlStatement<'s> {
    text: &'s str,
    binds: Vec<Bind<'s>>,
    cached: bool,
}

impl<'s> SqlStatement<'s> {
    pub(crate) fn new(statement: &'s Statement) -> Self {
        let binds = statement.binds.iter().map(Bind).collect();
        Self { text: &statement.text, binds, cached: statement.cached }
    }
}

impl<DB: Database> QueryFragment<DB> for SqlStatement<'_> {
    fn walk_ast<'b>(&'b self, mut pass: AstPass<'_, 'b, DB>) -> QueryResult<()> {
        if !self.cached {
            pass.unsafe_to_cache_prepared();
        }
        pass.push_sql(self.text);
        self.binds.iter().try_for_each(|bind| DB::bind(&mut pass, bind))
    }
}

impl QueryId for SqlStatement<'_> {
    type QueryId = ();
    const HAS_STATIC_QUERY_ID: bool = false;
}

impl Query for SqlStatement<'_> {
    type SqlType = Untyped;
}

/// A value that is bound as one of the SQL types below; null, if it is none of that type.
pub struct Bind<'s>(pub(crate) &'s Value);

/// Its shape: Diesel prints queries with what is bound to them.
impl fmt::Debug for Bind<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl<DB: Backend> ToSql<BigInt, DB> for Bind<'_>
where
    i64: ToSql<BigInt, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        match self.0 {
            Value::Int(int) => int.to_sql(out),
            _ => Ok(IsNull::Yes),
        }
    }
}

impl<DB: Backend> ToSql<Text, DB> for Bind<'_>
where
    str: ToSql<Text, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        match self.0 {
            Value::Text(text) => (**text).to_sql(out),
            _ => Ok(IsNull::Yes),
        }
    }
}

impl<DB: Backend> ToSql<Binary, DB> for Bind<'_>
where
    [u8]: ToSql<Binary, DB>,
{
    fn to_sql<'b>(&'b self, out: &mut Output<'b, '_, DB>) -> serialize::Result {
        match self.0 {
            Value::Bytes(bytes) => (**bytes).to_sql(out),
            Value::Uuid(uuid) => uuid.as_bytes()[..].to_sql(out),
            _ => Ok(IsNull::Yes),
        }
    }
}

/// Adds the columns that `statement` says, in `row`, to the rows that came before it.
pub(crate) fn push_row<'r, DB: Database>(
    rows: &mut Vec<Row>,
    row: &impl diesel::row::Row<'r, DB>,
    statement: &Statement,
) -> QueryResult<()> {
    let above = rows.last();
    let columns = statement.columns.iter().enumerate();
    let values = columns.map(|(index, kind)| {
        let field = row.get(index).ok_or("a row has fewer columns than asked for")?;
        match field.value() {
            Some(raw) => DB::get(raw, *kind, above.map(|above| &above[index])),
            None => Ok(Value::Null(*kind)),
        }
    });
    let values: deserialize::Result<Row> = values.collect();
    rows.push(values.map_err(Error::DeserializationError)?);
    Ok(())
}

/// The databases without arrays and without a type for UUIDs bind alike.
#[cfg(any(feature = "mysql_backend", feature = "sync-sqlite"))]
macro_rules! bind_plain_values {
    () => {
        fn bind<'b>(
            pass: &mut diesel::query_builder::AstPass<'_, 'b, Self>,
            bind: &'b crate::query::Bind<'_>,
        ) -> diesel::result::QueryResult<()> {
            use diesel::sql_types::{BigInt, Binary, Text};
            use outbox_sql::{Type, Value};

            match bind.0 {
                Value::Int(_) | Value::Null(Type::Int) => {
                    pass.push_bind_param_value_only::<BigInt, _>(bind)
                }
                Value::Text(_) | Value::Null(Type::Text) => {
                    pass.push_bind_param_value_only::<Text, _>(bind)
                }
                Value::Bytes(_) | Value::Uuid(_) | Value::Null(Type::Bytes | Type::Uuid) => {
                    pass.push_bind_param_value_only::<Binary, _>(bind)
                }
                Value::Ints(_) | Value::Texts(_) | Value::Blobs(_) | Value::Uuids(_) => {
                    let error = "arrays are bound on PostgreSQL only".into();
                    Err(diesel::result::Error::SerializationError(error))
                }
            }
        }
    };
}
#[cfg(any(feature = "mysql_backend", feature = "sync-sqlite"))]
pub(crate) use bind_plain_values;
