//! All SQL of a transactional outbox, once, for every ORM adapter.
//!
//! An adapter implements [`Driver`] and [`Session`], which move statements and rows and decide
//! nothing; [`SqlStore`] makes an [`outbox_core::Store`] and [`outbox_core::Admin`] of them, and
//! [`OpenOutbox`] writes messages on a [`Session`] that is a connection of the user's.

mod admin;
mod config;
mod dialect;
mod driver;
mod durable;
mod enqueue;
mod error;
mod failure;
mod fetch;
mod grants;
mod inbox;
mod lease;
mod migrate;
mod name;
mod open;
mod outbox;
mod pooler;
mod probe;
mod reread;
mod row;
mod schema;
mod settle;
mod slot;
mod statement;
mod store;
mod version;

pub use config::StoreConfig;
pub use dialect::Dialect;
pub use driver::{DatabaseMessage, Driver, DriverError, DriverErrorKind, Session};
pub use error::Error;
pub use grants::{Duty, Roles, grants, grants_script};
pub use inbox::{OpenInbox, Receipt};
pub use migrate::{migrate, migrate_on, migrations, script};
pub use name::{Identifier, InvalidName, Names};
pub use open::{Info, inspect, inspect_on, locate};
pub use outbox::{Known, OpenOutbox, OutboxConfig};
pub use probe::Probe;
pub use schema::{Migration, VERSION};
pub use statement::{Row, Statement, Type, Value};
pub use store::SqlStore;
