//! Tests against real databases. A server that is missing fails them: start it with
//! `cargo xtask services up`.

#![cfg(all(feature = "postgres", feature = "mysql", feature = "sqlite"))]

mod admin;
mod cancelled;
mod conflicts;
mod conformance;
mod enqueue;
mod fence;
mod horizon;
mod leases;
mod migration;
mod producers;
mod reading;
mod settling;
mod sqlite;
mod support;
