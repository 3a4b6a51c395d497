//! Stores by URL.

mod options;
#[cfg(any(feature = "sqlx-postgres", feature = "sqlx-mysql", feature = "sqlx-sqlite"))]
mod sqlx;

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Admin, Message, Store, Waker};

use crate::scheme::{Scheme, find, with_feature};
use crate::{Error, redact};
use options::Options;

/// Where an outbox is, read from a URL. Cheap to clone; it shows itself redacted.
///
/// | URL | feature |
/// |---|---|
/// | `postgres://USER:PASSWORD@HOST:PORT/DATABASE` | `sqlx-postgres` |
/// | `mysql://…`, `mariadb://…` | `sqlx-mysql` |
/// | `sqlite:PATH` | `sqlx-sqlite` |
///
/// Two parameters are the outbox's and are not handed on: `outbox_prefix`, what the names of its
/// tables begin with (`outbox`, unless set), and `outbox_schema`, the PostgreSQL schema or MySQL
/// database that they are in; SQLite has none. All others are the database driver's; one that it
/// doesn't know is an error.
///
/// ```
/// # #[cfg(feature = "sqlx-postgres")] {
/// let url: outbox::StoreUrl =
///     "postgres://app:secret@db/shop?sslmode=require&outbox_schema=billing".parse()?;
/// assert_eq!(url.to_string(), "postgres://db/shop");
/// # }
/// # Ok::<(), outbox::Error>(())
/// ```
#[derive(Clone)]
pub struct StoreUrl {
    shown: String,
    backend: Arc<dyn Backend>,
}

/// An outbox in a database that was reached and has the tables that it needs.
#[derive(Clone)]
pub struct Connected {
    shown: String,
    store: Arc<dyn Store>,
    admin: Arc<dyn Admin>,
    enqueue: Arc<dyn Enqueue>,
    waker: Waker,
}

impl StoreUrl {
    /// Which of the database's outboxes it is, as in messages: its prefix, behind a schema and a
    /// dot if the URL names one.
    pub fn outbox(&self) -> String {
        self.backend.outbox()
    }

    /// Creates the tables, or brings them up to date; a SQLite file that doesn't exist is created.
    /// It may be run again and by several processes at once. `partitions` can't be changed later.
    pub async fn migrate(&self, partitions: u16) -> Result<(), Error> {
        self.backend.migrate(self, partitions).await
    }

    /// The migration as plain SQL, for a migration tool of your own. The database isn't asked.
    pub fn script(&self, partitions: u16) -> Result<String, Error> {
        self.backend.script(self, partitions)
    }

    /// The rights that these roles need, as plain SQL for whoever owns the schema: see
    /// [`grants`](outbox_sqlx::grants). The database isn't asked. For SQLite, which has no roles, it
    /// is an error.
    #[cfg(any(feature = "sqlx-postgres", feature = "sqlx-mysql", feature = "sqlx-sqlite"))]
    pub fn grants(&self, roles: &outbox_sqlx::Roles) -> Result<String, Error> {
        self.backend.grants(self, roles)
    }

    /// Connects, and refuses a database whose outbox is missing or unfit for use.
    pub async fn connect(&self) -> Result<Connected, Error> {
        self.backend.connect(self).await
    }
}

impl FromStr for StoreUrl {
    type Err = Error;

    fn from_str(url: &str) -> Result<Self, Error> {
        let backend = find("store", TABLE.iter().copied(), url)?;
        let shown = redact(url);
        let read = Options::read(url).and_then(|options| backend(&options));
        match read {
            Ok(backend) => Ok(Self { shown, backend }),
            Err(problem) => Err(Error::Url { url: shown, problem }),
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.shown)
    }
}

impl fmt::Debug for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("StoreUrl").field(&self.shown).finish()
    }
}

impl Connected {
    /// For a relay.
    pub fn store(&self) -> Arc<dyn Store> {
        Arc::clone(&self.store)
    }

    /// For its operator.
    pub fn admin(&self) -> Arc<dyn Admin> {
        Arc::clone(&self.admin)
    }

    /// Stores messages in a transaction of their own: all of them, in their order, or none. For
    /// tools; a service enqueues in the transaction of the change that its messages tell of.
    pub async fn enqueue_all(&self, messages: &[Message]) -> Result<(), Error> {
        self.enqueue.enqueue_all(&self.shown, messages, &self.waker).await
    }

    /// Is woken by [`enqueue_all`](Self::enqueue_all); give it to a relay of this process.
    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}

impl fmt::Debug for Connected {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connected").field("url", &self.shown).finish_non_exhaustive()
    }
}

/// A kind of database, with where it is.
#[async_trait]
trait Backend: Send + Sync {
    fn outbox(&self) -> String;

    async fn migrate(&self, url: &StoreUrl, partitions: u16) -> Result<(), Error>;

    fn script(&self, url: &StoreUrl, partitions: u16) -> Result<String, Error>;

    #[cfg(any(feature = "sqlx-postgres", feature = "sqlx-mysql", feature = "sqlx-sqlite"))]
    fn grants(&self, url: &StoreUrl, roles: &outbox_sqlx::Roles) -> Result<String, Error>;

    async fn connect(&self, url: &StoreUrl) -> Result<Connected, Error>;
}

/// Writes messages outside of anybody's transaction.
#[async_trait]
trait Enqueue: Send + Sync {
    async fn enqueue_all(
        &self,
        shown: &str,
        messages: &[Message],
        waker: &Waker,
    ) -> Result<(), Error>;
}

/// Makes a backend, or says what is wrong with the URL without quoting it.
type Make = fn(&Options) -> Result<Arc<dyn Backend>, String>;

const TABLE: &[Scheme<Make>] = &[
    Scheme {
        names: &["postgres", "postgresql"],
        feature: "sqlx-postgres",
        adapter: with_feature!("sqlx-postgres", sqlx::backend::<::sqlx::Postgres>),
    },
    Scheme {
        names: &["mysql", "mariadb"],
        feature: "sqlx-mysql",
        adapter: with_feature!("sqlx-mysql", sqlx::backend::<::sqlx::MySql>),
    },
    Scheme {
        names: &["sqlite"],
        feature: "sqlx-sqlite",
        adapter: with_feature!("sqlx-sqlite", sqlx::backend::<::sqlx::Sqlite>),
    },
];
