//! The store's own connections.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use diesel::ConnectionResult;
use diesel::result::QueryResult;
use diesel_async::{AsyncConnection, AsyncConnectionCore};
use futures::future::BoxFuture;
use futures::{FutureExt as _, TryStreamExt as _};
use outbox_sql::{Dialect, Driver, DriverError, Row, Statement};

use crate::error::connection_error;
use crate::query::{SqlStatement, push_row};
use crate::session::Link;
use crate::{Database, DieselSession, Error};

/// Opens connections of diesel-async's. Where it is told to open them like a pool's, they are not
/// from it: a pool that the service has exhausted can't starve its relay.
pub struct DieselDriver<C> {
    connect: Arc<dyn Fn() -> Connecting<C> + Send + Sync>,
}

type Connecting<C> = BoxFuture<'static, Result<C, DriverError>>;

/// A connection that can be opened by a URL of Diesel's form: `AsyncPgConnection`,
/// `AsyncMysqlConnection`, `SyncConnectionWrapper<SqliteConnection>`.
pub trait FromUrl: AsyncConnection + 'static {
    #[doc(hidden)]
    fn is_url(url: &str) -> bool;

    #[doc(hidden)]
    fn connect(url: &str) -> impl Future<Output = ConnectionResult<Self>> + Send {
        Self::establish(url)
    }
}

impl<C> DieselDriver<C>
where
    C: AsyncConnection<Backend: Database> + 'static,
{
    /// Opens each connection by calling `connect`, for one that needs more than a URL, such as
    /// certificates of its own.
    pub fn new<F, Fut>(connect: F) -> Self
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ConnectionResult<C>> + Send + 'static,
    {
        Self::sorting(move || {
            let connecting = connect();
            async move { connecting.await.map_err(connection_error::<C::Backend>) }.boxed()
        })
    }

    /// Connects to `url`.
    ///
    /// With `sslmode=require` a connection to PostgreSQL is encrypted, and the server's certificate
    /// must be valid for its name by the system's roots: what libpq calls `verify-full`. The client
    /// doesn't know that word, nor `verify-ca`: such a URL is [`Error::Url`]. Otherwise the
    /// connection is as Diesel's own, without encryption. To MySQL and MariaDB it is as Diesel's
    /// own.
    pub fn from_url(url: &str) -> Result<Self, Error>
    where
        C: FromUrl,
    {
        if !C::is_url(url) {
            return Err(Error::Url);
        }
        let url: Arc<str> = url.into();
        Ok(Self::new(move || {
            let url = Arc::clone(&url);
            async move { C::connect(&url).await }
        }))
    }

    /// Connects as `pool` does, with the same custom setup. What else it does with its connections,
    /// such as a `connection_customizer`, is not done with these.
    #[cfg(feature = "bb8")]
    pub fn like_bb8(pool: &diesel_async::pooled_connection::bb8::Pool<C>) -> Self
    where
        Manager<C>: bb8::ManageConnection<Connection = C, Error = ManagerError>,
    {
        let pool = pool.clone();
        Self::sorting(move || {
            let pool = pool.clone();
            async move { pool.dedicated_connection().await.map_err(pool_error::<C>) }.boxed()
        })
    }

    /// Connects as `pool` does, with the same custom setup. Its hooks don't run.
    #[cfg(feature = "deadpool")]
    pub fn like_deadpool(pool: &diesel_async::pooled_connection::deadpool::Pool<C>) -> Self
    where
        Manager<C>: deadpool::managed::Manager<Type = C, Error = ManagerError>,
    {
        let pool = pool.clone();
        Self::sorting(move || {
            let pool = pool.clone();
            async move {
                let created = deadpool::managed::Manager::create(pool.manager()).await;
                created.map_err(pool_error::<C>)
            }
            .boxed()
        })
    }

    fn sorting(connect: impl Fn() -> Connecting<C> + Send + Sync + 'static) -> Self {
        Self { connect: Arc::new(connect) }
    }
}

#[cfg(any(feature = "bb8", feature = "deadpool"))]
type Manager<C> = diesel_async::pooled_connection::AsyncDieselConnectionManager<C>;

#[cfg(any(feature = "bb8", feature = "deadpool"))]
type ManagerError = diesel_async::pooled_connection::PoolError;

#[cfg(any(feature = "bb8", feature = "deadpool"))]
fn pool_error<C: AsyncConnection<Backend: Database>>(error: ManagerError) -> DriverError {
    match error {
        ManagerError::ConnectionError(error) => connection_error::<C::Backend>(error),
        ManagerError::QueryError(error) => crate::error::driver_error::<C::Backend>(error, None),
    }
}

impl<C> Clone for DieselDriver<C> {
    fn clone(&self) -> Self {
        Self { connect: Arc::clone(&self.connect) }
    }
}

impl<C> fmt::Debug for DieselDriver<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DieselDriver").field(&std::any::type_name::<C>()).finish()
    }
}

#[async_trait]
impl<C> Driver for DieselDriver<C>
where
    C: AsyncConnection<Backend: Database> + 'static,
{
    type Session = DieselSession<C>;

    fn dialect(&self) -> Dialect {
        use crate::database::backend::Backend;

        <C::Backend as Backend>::DIALECT
    }

    async fn connect(&self) -> Result<DieselSession<C>, DriverError> {
        (self.connect)().await.map(DieselSession::new)
    }
}

impl<C: AsyncConnection<Backend: Database>> Link for C {
    type Database = <C as AsyncConnectionCore>::Backend;

    async fn run(&mut self, text: &str) -> QueryResult<()> {
        self.batch_execute(text).await
    }

    async fn execute(&mut self, statement: &Statement) -> QueryResult<usize> {
        self.execute_returning_count(SqlStatement::new(statement)).await
    }

    async fn query(&mut self, statement: &Statement) -> QueryResult<Vec<Row>> {
        let mut stream = std::pin::pin!(self.load(SqlStatement::new(statement)).await?);
        let mut rows = Vec::new();
        while let Some(row) = stream.try_next().await? {
            push_row(&mut rows, &row, statement)?;
        }
        Ok(rows)
    }
}
