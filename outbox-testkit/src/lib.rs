//! What proves that an outbox keeps its promises: a reference database and broker in memory,
//! conformance suites for stores and publishers, fault wrappers, a history checker and, with the
//! features `servers` and `consumers`, real servers that a test may kill, and what arrives at them. For the tests of a service that has an outbox
//! there is [`service`].

pub mod adapter;
#[cfg(feature = "consumers")]
pub mod consumers;
pub mod faults;
pub mod history;
pub mod memory;
#[cfg(feature = "servers")]
pub mod servers;
pub mod service;
pub mod sim;
pub mod suite;
