#![cfg_attr(feature = "sqlite", doc = include_str!("../README.md"))]
#![cfg_attr(not(feature = "sqlite"), doc = "Transactional outbox through Diesel and diesel-async.")]

#[cfg(feature = "mysql_backend")]
mod mysql;
#[cfg(feature = "postgres_backend")]
mod postgres;
#[cfg(feature = "sync-sqlite")]
mod sqlite;

mod database;
#[cfg(feature = "async")]
mod driver;
mod emit;
#[cfg(feature = "async")]
mod enqueue;
mod error;
#[cfg(feature = "async")]
mod inbox;
mod migrations;
mod query;
mod session;
pub mod sync;
pub mod tables;
#[cfg(feature = "async")]
mod transaction;

use std::cmp::Ordering;
use std::num::NonZeroU32;

use outbox_core::{StoreError, StoreErrorKind};
use outbox_sql::DriverError;

pub use database::Database;
#[cfg(feature = "async")]
pub use driver::{DieselDriver, FromUrl};
pub use emit::OutboxTransaction;
#[cfg(feature = "async")]
pub use enqueue::Outbox;
#[cfg(feature = "async")]
pub use inbox::Inbox;
pub use migrations::OutboxMigrations;
pub use outbox_sql::{
    DatabaseMessage, Dialect, Duty, Error, Identifier, InvalidName, Names, OpenOutbox,
    OutboxConfig, Receipt, Roles, SqlStore, StoreConfig, grants, grants_script, migrate, script,
};
pub use session::DieselSession;
#[cfg(feature = "async")]
pub use transaction::SendAsyncFnOnce;

/// The store of an [`Outbox`], for a relay.
#[cfg(feature = "async")]
pub type Store<C> = SqlStore<DieselDriver<C>>;

const BEGINNING: &str = "beginning a transaction";
const ENDING: &str = "ending a transaction";

/// A transaction ends as deep in Diesel's savepoints as it began.
fn check_depth(begun: Option<NonZeroU32>, now: Option<NonZeroU32>) -> Result<(), Error> {
    match now.cmp(&begun) {
        Ordering::Equal => Ok(()),
        // Diesel hears of some transactions that SQLite ends by itself.
        Ordering::Less => Err(Error::TransactionEnded),
        Ordering::Greater => {
            let source = DriverError::other("a transaction that was begun within it is still open");
            Err(Error::database(ENDING, source))
        }
    }
}

fn in_a_transaction() -> Error {
    let context = "a migration needs a connection that is in no transaction";
    StoreError::new(StoreErrorKind::Schema, context).into()
}
