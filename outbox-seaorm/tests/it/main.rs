//! Tests against real databases. A server that is missing fails them: start it with
//! `cargo xtask services up`.

#![cfg(all(
    feature = "postgres",
    feature = "mysql",
    feature = "sqlite",
    feature = "entities",
    feature = "migration"
))]

mod cancelled;
mod conflicts;
mod conformance;
mod connections;
mod ended;
mod enqueue;
mod entities;
mod inbox;
mod migration;
mod sqlite;
mod support;
