//! The reference outbox: a database and a broker in memory, without a clock or randomness of their
//! own.
//!
//! [`Database`] models an SQL database as far as an outbox can tell: transactions that hand out
//! places before they commit, snapshots, leases by the database's clock. It is synchronous; each
//! call happens at the one instant that it is given, so that a simulator can run thousands of
//! schedules and replay any of them. [`MemoryStore`] and [`MemoryPublisher`] wrap database and
//! broker in the traits of the core.

mod admin;
mod broker;
mod database;
mod leases;
mod publisher;
mod reading;
mod sabotage;
mod settling;
mod store;
#[cfg(test)]
mod tests;

pub use broker::{Acceptance, Broker};
pub use database::{Counters, Database, Transaction};
pub use publisher::MemoryPublisher;
pub use sabotage::Sabotage;
pub use store::MemoryStore;
