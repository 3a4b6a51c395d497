//! Tests against real databases. A server that is missing fails them: start it with
//! `cargo xtask services up`.

#![cfg(all(
    feature = "postgres",
    feature = "mysql",
    feature = "sqlite",
    feature = "sync-postgres",
    feature = "sync-mysql",
    feature = "bb8",
    feature = "deadpool"
))]

mod cancelled;
mod conflicts;
mod conformance;
mod driver;
mod ended;
mod enqueue;
mod errors;
mod inbox;
mod migrations;
mod sqlite;
mod support;
mod sync;
mod tables;
mod unanswered;
