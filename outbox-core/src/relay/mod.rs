//! The relay: a state machine without I/O, clock or randomness.
//!
//! A message's way through it: a page is read ([`Command::Fetch`]) and each row joins its *lane*;
//! a batch of lanes' fronts is published ([`Command::Publish`]); what was delivered is settled
//! ([`Command::Settle`]) and leaves memory. A message that fails blocks its lane alone: the lane
//! is put aside, its messages leave memory, and it is read again when its time has come
//! ([`Command::Reread`]). If it is given up under the policy to park, its lane follows it to the dead
//! letters. Leases ([`Command::Lease`]) say which partitions are read at all.

mod breaker;
mod command;
mod config;
mod cursors;
mod horizon;
mod landing;
mod lanes;
mod leases;
mod machine;
mod ownership;
mod parking;
mod publishing;
mod reading;
mod rereading;
mod settling;
mod share;
mod timers;
mod window;

pub use command::{
    Batch, BatchId, Command, Destination, DestinationSpec, Event, Input, StoreCall, StoreFailure,
};
pub use config::{Backoff, InvalidConfig, RelayConfig, RetryPolicy};
pub use machine::{Machine, Route, Setup};
pub use parking::DeadLetterPolicy;
