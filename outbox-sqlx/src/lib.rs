//! Transactional outbox in PostgreSQL, MariaDB, MySQL and SQLite through sqlx.
//!
//! A service enqueues messages in the transaction that changes its data:
//!
//! ```no_run
//! # #[cfg(feature = "sqlite")]
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use outbox_core::Message;
//! use outbox_sqlx::Outbox;
//!
//! let pool = sqlx::SqlitePool::connect("sqlite:shop.db?mode=rwc").await?;
//! Outbox::migrate(&pool).await?;
//! let outbox = Outbox::open(&pool).await?;
//!
//! let mut tx = outbox.begin(&pool).await?;
//! sqlx::query("INSERT INTO orders (id) VALUES (?)").bind(42).execute(&mut *tx).await?;
//! tx.emit(Message::json("orders", &42).key("customer-7").build()?)?;
//! tx.commit().await?;
//! # Ok(())
//! # }
//! ```
//!
//! Each database is behind a feature of its name: `postgres`, `mysql` (for MariaDB too), `sqlite`.

mod database;
mod driver;
mod enqueue;
mod error;
mod inbox;
#[cfg(feature = "mysql")]
mod mysql;
#[cfg(feature = "postgres")]
mod postgres;
#[cfg(feature = "sqlite")]
mod sqlite;
mod transaction;

pub use database::Database;
pub use driver::{SqlxDriver, SqlxSession};
pub use enqueue::Outbox;
pub use error::driver_error;
pub use inbox::Inbox;
pub use outbox_sql::{
    DatabaseMessage, Dialect, Error, Identifier, InvalidName, Names, OpenOutbox, OutboxConfig,
    Receipt, SqlStore, StoreConfig, migrate, script,
};
pub use transaction::{OutboxTransaction, SAVEPOINT};

/// The store of an [`Outbox`], for a relay.
pub type Store<DB> = SqlStore<SqlxDriver<DB>>;
