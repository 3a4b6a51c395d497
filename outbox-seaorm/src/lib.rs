#![doc = include_str!("../README.md")]

mod driver;
mod enqueue;
#[cfg(feature = "entities")]
pub mod entities;
mod error;
mod inbox;
mod lent;
#[cfg(feature = "migration")]
mod migration;
mod transaction;

pub use driver::{SeaOrmDriver, SeaOrmSession};
pub use enqueue::Outbox;
pub use error::db_err;
pub use inbox::Inbox;
#[cfg(feature = "migration")]
pub use migration::{migrations, migrations_with};
pub use outbox_sql::{
    DatabaseMessage, Dialect, Duty, Error, Identifier, InvalidName, Names, OpenOutbox,
    OutboxConfig, Receipt, Roles, SqlStore, StoreConfig, grants, grants_script, migrate, script,
};
pub use transaction::OutboxTransaction;

/// The store of an [`Outbox`], for a relay.
pub type Store = SqlStore<SeaOrmDriver>;
