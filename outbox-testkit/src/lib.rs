//! What proves that an outbox keeps its promises: a reference database and broker in memory,
//! conformance suites for stores and publishers, fault wrappers, a history checker and, with the
//! feature `servers`, real servers that a test may kill. For the tests of a service that has an outbox
//! there is [`service`].

pub mod adapter;
pub mod faults;
pub mod history;
pub mod memory;
#[cfg(feature = "servers")]
pub mod servers;
pub mod service;
pub mod sim;
pub mod suite;
