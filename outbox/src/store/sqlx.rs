//! Databases through sqlx.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Message, StoreError, StoreErrorKind, Waker};
use outbox_sqlx::{
    Database, Dialect, Identifier, Names, Outbox, OutboxConfig, Roles, SqlStore, SqlxDriver,
    StoreConfig, grants_script, migrate, script,
};
use sqlx::pool::PoolOptions;
use sqlx::{Connection, Pool};
use url::ParseError::InvalidPort;

use super::options::Options;
use super::{Backend, Connected, Enqueue, StoreUrl};
use crate::Error;

type ConnectOptions<DB> = <<DB as sqlx::Database>::Connection as Connection>::Options;

/// What connecting by URL needs to know of a database.
#[async_trait]
pub(super) trait Kind: Database {
    /// The parameters that its driver knows, if it doesn't refuse others by itself.
    const PARAMETERS: Option<&'static [&'static str]> = None;

    /// What connections for the outbox alone need otherwise than those of a service.
    fn for_the_outbox(options: ConnectOptions<Self>) -> ConnectOptions<Self> {
        options
    }

    /// Makes the database itself, where that is ours to do.
    async fn create(_: &ConnectOptions<Self>) -> Result<(), sqlx::Error> {
        Ok(())
    }
}

#[cfg(feature = "sqlx-postgres")]
#[async_trait]
impl Kind for sqlx::Postgres {
    // The driver prints the value of one that it doesn't know, which may be a misspelt password.
    const PARAMETERS: Option<&'static [&'static str]> = Some(&[
        "application_name",
        "dbname",
        "host",
        "hostaddr",
        "options",
        "password",
        "port",
        "ssl-ca",
        "ssl-cert",
        "ssl-key",
        "ssl-mode",
        "ssl-root-cert",
        "sslcert",
        "sslkey",
        "sslmode",
        "sslrootcert",
        "statement-cache-capacity",
        "user",
    ]);

    fn for_the_outbox(options: ConnectOptions<Self>) -> ConnectOptions<Self> {
        // PgBouncer lets nobody in who asks for a number of digits; nothing here has any.
        options.extra_float_digits(None)
    }
}

#[cfg(feature = "sqlx-mysql")]
#[async_trait]
impl Kind for sqlx::MySql {
    // The driver ignores one that it doesn't know, such as a misspelt `sslmode`.
    const PARAMETERS: Option<&'static [&'static str]> = Some(&[
        "charset",
        "collation",
        "socket",
        "ssl-ca",
        "ssl-cert",
        "ssl-key",
        "ssl-mode",
        "sslca",
        "sslcert",
        "sslkey",
        "sslmode",
        "statement-cache-capacity",
        "time-zone",
        "timezone",
    ]);
}

#[cfg(feature = "sqlx-sqlite")]
#[async_trait]
impl Kind for sqlx::Sqlite {
    async fn create(options: &ConnectOptions<Self>) -> Result<(), sqlx::Error> {
        use sqlx::ConnectOptions as _;

        options.clone().create_if_missing(true).connect().await?.close().await
    }
}

struct Sqlx<DB: Kind> {
    options: ConnectOptions<DB>,
    names: Names,
}

/// Reads a URL for the database `DB`; what is wrong with it is said without quoting it.
pub(super) fn backend<DB: Kind>(options: &Options) -> Result<Arc<dyn Backend>, String> {
    if let Some(known) = DB::PARAMETERS {
        let is_known = |name: &String| known.contains(&name.as_str());
        if !options.parameters.iter().all(is_known) {
            return Err(format!("it has a parameter other than {}", known.join(", ")));
        }
    }
    let identifier = |name: &str| Identifier::new(name).map_err(|error| error.to_string());
    let prefix = options.prefix.as_deref().map(identifier).transpose()?;
    let schema = options.schema.as_deref().map(identifier).transpose()?;
    if DB::DIALECT == Dialect::Sqlite && schema.is_some() {
        return Err("SQLite has no schemas: leave `outbox_schema` out".into());
    }
    let names = Names { schema, prefix: prefix.unwrap_or(Names::default().prefix) };
    let options = options.url.parse::<ConnectOptions<DB>>().map_err(refused)?;
    Ok(Arc::new(Sqlx::<DB> { options: DB::for_the_outbox(options), names }))
}

/// What the driver says quotes the URL.
fn refused(error: sqlx::Error) -> String {
    match error {
        sqlx::Error::Configuration(cause) if cause.downcast_ref() == Some(&InvalidPort) => {
            "a port is no number between 1 and 65535".into()
        }
        _ => "the database driver doesn't understand it".into(),
    }
}

impl<DB: Kind> Sqlx<DB> {
    /// A pool that connects when it is used first.
    fn pool(&self) -> Pool<DB> {
        PoolOptions::new()
            .max_connections(1)
            .acquire_timeout(Duration::from_secs(10))
            .connect_lazy_with(self.options.clone())
    }
}

#[async_trait]
impl<DB: Kind> Backend for Sqlx<DB> {
    fn outbox(&self) -> String {
        self.names.to_string()
    }

    async fn migrate(&self, url: &StoreUrl, partitions: u16) -> Result<(), Error> {
        let failed = |source| Error::Migrate { url: url.to_string(), source };
        DB::create(&self.options).await.map_err(|error| {
            let kind = StoreErrorKind::Unavailable;
            failed(StoreError::with_source(kind, "creating the database failed", error))
        })?;
        migrate(&SqlxDriver::like(&self.pool()), &self.names, partitions).await.map_err(failed)
    }

    fn script(&self, url: &StoreUrl, partitions: u16) -> Result<String, Error> {
        script(DB::DIALECT, &self.names, partitions)
            .map_err(|source| Error::Migrate { url: url.to_string(), source })
    }

    fn grants(&self, url: &StoreUrl, roles: &Roles) -> Result<String, Error> {
        grants_script(DB::DIALECT, &self.names, roles)
            .map_err(|error| Error::Url { url: url.to_string(), problem: error.to_string() })
    }

    async fn connect(&self, url: &StoreUrl) -> Result<Connected, Error> {
        let pool = self.pool();
        let config = StoreConfig { names: self.names.clone(), ..StoreConfig::default() };
        let store = SqlStore::open(SqlxDriver::like(&pool), config)
            .await
            .map_err(|source| Error::Store { url: url.to_string(), source })?;
        let store = Arc::new(store);
        Ok(Connected {
            shown: url.to_string(),
            admin: Arc::clone(&store) as _,
            store,
            enqueue: Arc::new(Enqueuer { pool, names: self.names.clone() }),
            waker: Waker::new(),
        })
    }
}

struct Enqueuer<DB: Kind> {
    pool: Pool<DB>,
    names: Names,
}

#[async_trait]
impl<DB: Kind> Enqueue for Enqueuer<DB> {
    async fn enqueue_all(
        &self,
        shown: &str,
        messages: &[Message],
        waker: &Waker,
    ) -> Result<(), Error> {
        let failed = |error: outbox_sqlx::Error| match error {
            outbox_sqlx::Error::Message(invalid) => Error::Message(invalid),
            outbox_sqlx::Error::Outbox(source) => Error::Store { url: shown.to_owned(), source },
            other => Error::Enqueue { url: shown.to_owned(), source: other.into() },
        };
        let names = self.names.clone();
        let config = OutboxConfig { names, waker: waker.clone(), ..OutboxConfig::default() };
        let outbox = Outbox::open_with(&self.pool, config).await.map_err(failed)?;
        let mut tx = outbox.begin(&self.pool).await.map_err(failed)?;
        outbox.enqueue_all(&mut tx, messages).await.map_err(failed)?;
        tx.commit().await.map_err(failed)
    }
}
