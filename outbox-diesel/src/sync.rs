//! The outbox for Diesel's own connections: `PgConnection`, `MysqlConnection`, `SqliteConnection`,
//! and what a pool of `r2d2` gives.
//!
//! ```no_run
//! # #[cfg(feature = "sync-sqlite")]
//! # fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use diesel::connection::SimpleConnection;
//! use diesel::prelude::*;
//! use outbox_core::Message;
//! use outbox_diesel::{Error, sync::Outbox};
//!
//! let mut connection = SqliteConnection::establish("shop.db")?;
//! connection.batch_execute("PRAGMA busy_timeout = 5000")?; // SQLite only, see the README
//! Outbox::migrate(&mut connection)?;
//! let outbox = Outbox::open(&mut connection)?;
//!
//! outbox.transaction(&mut connection, |mut tx| {
//!     diesel::sql_query("INSERT INTO orders (id) VALUES (42)").execute(&mut *tx)?;
//!     tx.emit(Message::json("orders", &42).key("customer-7"))?;
//!     Ok::<_, Box<dyn std::error::Error>>(())
//! })?;
//! # Ok(())
//! # }
//! ```
//!
//! The relay of such a service runs beside it: `outbox relay`, or a thread with a runtime for a
//! relay on a [`DieselDriver`](crate::DieselDriver).

mod enqueue;
mod inbox;
mod session;
mod transaction;

pub use crate::emit::OutboxTransaction;
pub use enqueue::Outbox;
pub use inbox::Inbox;
