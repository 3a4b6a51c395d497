//! The reference store and broker pass their own suites.

mod publisher;
mod sabotage;
mod store;
