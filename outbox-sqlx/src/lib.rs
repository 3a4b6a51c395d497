#![cfg_attr(feature = "sqlite", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "sqlite"), doc = "Transactional outbox through sqlx.")]

mod database;
mod driver;
mod enqueue;
mod error;
mod finish;
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
pub use finish::to_its_end;
pub use inbox::Inbox;
pub use outbox_sql::{
    DatabaseMessage, Dialect, Duty, Error, Identifier, InvalidName, Names, OpenOutbox,
    OutboxConfig, Receipt, Roles, SqlStore, StoreConfig, grants, grants_script, migrate, script,
};
pub use transaction::{OutboxTransaction, acquire};

/// The store of an [`Outbox`], for a relay.
pub type Store<DB> = SqlStore<SqlxDriver<DB>>;
