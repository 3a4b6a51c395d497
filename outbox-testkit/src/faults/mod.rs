//! Wrappers that make a store or a publisher fail, by script or by chance.
//!
//! Both take their faults from an [`Injector`]: what was scripted for a call comes first, else
//! dice from a seed decide. What was injected is recorded, so that a test can tell that something
//! went wrong at all, and how many duplicates that explains.

mod injector;
mod proxy;
mod publisher;
mod store;
#[cfg(test)]
mod tests;

pub use injector::{Call, Injection, Injector};
pub use proxy::{Held, Proxy};
pub use publisher::{FaultyPublisher, PublisherFault};
pub use store::{FaultyStore, StoreFault};
