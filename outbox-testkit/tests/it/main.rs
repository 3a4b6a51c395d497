//! The reference store and broker pass their own suites, and a service's tests have their helpers.

mod publisher;
mod sabotage;
#[cfg(feature = "sqlx-sqlite")]
mod service;
mod store;
