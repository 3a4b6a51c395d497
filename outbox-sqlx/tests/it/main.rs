//! Tests against real databases. A server that is missing fails them: start it with
//! `cargo xtask services up`.

#![cfg(all(feature = "postgres", feature = "mysql", feature = "sqlite"))]

mod admin;
mod cancelled;
mod conflicts;
mod conformance;
mod durable;
mod ended;
mod enqueue;
mod fail_over;
mod fence;
mod helpers;
mod horizon;
mod inbox;
mod leases;
mod migration;
mod parked;
mod producers;
mod reading;
mod restart;
mod rights;
mod server;
mod settling;
mod sqlite;
mod support;
