//! What proves that an outbox keeps its promises: a reference database and broker in memory,
//! conformance suites for stores and publishers, fault wrappers, and a history checker.

pub mod faults;
pub mod history;
pub mod memory;
pub mod sim;
pub mod suite;
