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
mod held;
mod helpers;
mod horizon;
mod inbox;
mod leases;
mod migration;
mod parked;
mod pooler;
mod producers;
mod reading;
mod restart;
mod rights;
mod roles;
mod server;
mod settling;
mod sqlite;
mod support;
mod tls;
