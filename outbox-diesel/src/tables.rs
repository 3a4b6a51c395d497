//! Declarations of the outbox's tables under their default names, to query what is pending and what
//! has died in types of one's own.
//!
//! They are for reading, but Diesel's `table!` has no form that refuses to write. A message that
//! isn't written by `enqueue` or `emit` can be in a wrong partition and lose its order; one that is
//! deleted is lost.

#[cfg(feature = "mysql_backend")]
pub mod mysql;
#[cfg(feature = "postgres_backend")]
pub mod postgres;
#[cfg(feature = "sync-sqlite")]
pub mod sqlite;
