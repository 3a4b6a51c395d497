//! All SQL of a transactional outbox, once, for every ORM adapter.
//!
//! An adapter implements [`Driver`] and [`Session`], which move statements and rows and decide
//! nothing; [`SqlStore`] makes an [`outbox_core::Store`] and [`outbox_core::Admin`] of them.
//! Statements are data ([`Statement`]), so that an adapter can also run the ones of
//! [`enqueue_statements`] in a transaction of its user's.

mod admin;
mod config;
mod dialect;
mod driver;
mod enqueue;
mod error;
mod fetch;
mod lease;
mod migrate;
mod name;
mod open;
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
pub use driver::{Driver, DriverError, DriverErrorKind, Session};
pub use enqueue::enqueue_statements;
pub use migrate::{migrate, script};
pub use name::{Identifier, InvalidName, Names};
pub use open::{Info, inspect};
pub use probe::Probe;
pub use schema::VERSION;
pub use statement::{Row, Statement, Type, Value};
pub use store::SqlStore;
