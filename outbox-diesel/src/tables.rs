//! Read-only declarations of the outbox's tables under their default names, to query what is
//! pending and what has died in types of one's own.
//!
//! Messages are written by `enqueue` and `emit` alone: these know the partition, which a wrong one
//! would lose.

#[cfg(feature = "mysql_backend")]
pub mod mysql;
#[cfg(feature = "postgres_backend")]
pub mod postgres;
#[cfg(feature = "sync-sqlite")]
pub mod sqlite;
