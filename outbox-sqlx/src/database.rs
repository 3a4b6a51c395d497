//! What differs between sqlx's databases.

use std::future::Future;

use outbox_sql::{Dialect, DriverError, Row, Statement};
use sqlx::Connection;

/// A database of sqlx's that can hold an outbox: `Postgres`, `MySql` or `Sqlite`.
pub trait Database: backend::Backend {}

pub(crate) mod backend {
    use super::{Connection, Dialect, DriverError, Future, Row, Statement};

    pub(crate) type Options<DB> = <<DB as sqlx::Database>::Connection as Connection>::Options;

    /// The hidden part of [`Database`](super::Database).
    pub trait Backend: sqlx::Database {
        const DIALECT: Dialect;

        /// How a transaction begins that will write.
        const BEGIN: Option<&'static str>;

        /// The options for the store's own connections, made from those of the user's pool.
        fn own(
            options: &<Self::Connection as Connection>::Options,
        ) -> <Self::Connection as Connection>::Options;

        fn error(error: sqlx::Error) -> DriverError;

        fn run(
            connection: &mut Self::Connection,
            text: &str,
        ) -> impl Future<Output = Result<(), DriverError>> + Send;

        fn execute(
            connection: &mut Self::Connection,
            statement: &Statement,
        ) -> impl Future<Output = Result<u64, DriverError>> + Send;

        fn query(
            connection: &mut Self::Connection,
            statement: &Statement,
        ) -> impl Future<Output = Result<Vec<Row>, DriverError>> + Send;
    }
}

/// The parts of [`backend::Backend`] that are alike but for the types, which sqlx's traits can't
/// be generic over.
#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
macro_rules! same_for_every_database {
    () => {
        fn error(error: sqlx::Error) -> outbox_sql::DriverError {
            crate::driver_error(Self::DIALECT, error)
        }

        async fn run(
            connection: &mut Self::Connection,
            text: &str,
        ) -> Result<(), outbox_sql::DriverError> {
            let query = sqlx::raw_sql(sqlx::AssertSqlSafe(text));
            query.execute(connection).await.map(|_| ()).map_err(Self::error)
        }

        async fn execute(
            connection: &mut Self::Connection,
            statement: &outbox_sql::Statement,
        ) -> Result<u64, outbox_sql::DriverError> {
            let query = prepare(statement).map_err(Self::error)?;
            let done = query.execute(connection).await.map_err(Self::error)?;
            Ok(done.rows_affected())
        }

        async fn query(
            connection: &mut Self::Connection,
            statement: &outbox_sql::Statement,
        ) -> Result<Vec<outbox_sql::Row>, outbox_sql::DriverError> {
            use futures::TryStreamExt as _;

            let query = prepare(statement).map_err(Self::error)?;
            let mut fetched = query.fetch(connection);
            let mut rows = Vec::new();
            while let Some(row) = fetched.try_next().await.map_err(Self::error)? {
                let above: Option<&outbox_sql::Row> = rows.last();
                let columns = statement.columns.iter().enumerate();
                let values = columns
                    .map(|(index, kind)| get(&row, index, *kind, above.map(|above| &above[index])));
                rows.push(values.collect::<Result<_, _>>().map_err(Self::error)?);
            }
            Ok(rows)
        }
    };
    (prepare $database:ty) => {
        fn prepare(
            statement: &outbox_sql::Statement,
        ) -> Result<
            sqlx::query::Query<'_, $database, <$database as sqlx::Database>::Arguments>,
            sqlx::Error,
        > {
            use sqlx::Arguments as _;

            let mut arguments = <$database as sqlx::Database>::Arguments::default();
            arguments.reserve(statement.binds.len(), 0);
            for value in &statement.binds {
                bind(&mut arguments, value).map_err(sqlx::Error::Encode)?;
            }
            let text = sqlx::AssertSqlSafe(statement.text.clone());
            Ok(sqlx::query_with(text, arguments).persistent(statement.cached))
        }
    };
}

#[cfg(any(feature = "postgres", feature = "mysql", feature = "sqlite"))]
pub(crate) use same_for_every_database;
