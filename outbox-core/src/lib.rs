//! The broker-agnostic core of a transactional outbox.
//!
//! A service stores a [`Message`] in the transaction that changes its data. A relay reads what was
//! committed from a [`Store`] and hands it to a [`Publisher`]. This crate defines the three, and
//! the relay: a state machine without I/O in [`relay`], and its driver on tokio.

#[doc(hidden)]
#[path = "derive.rs"]
pub mod __derive;
mod admin;
#[cfg(feature = "broker")]
pub mod broker;
#[cfg(feature = "tokio")]
mod driver;
mod error;
mod event;
mod limits;
mod message;
mod partition;
mod publisher;
mod reason;
pub mod relay;
mod store;
#[cfg(feature = "opentelemetry")]
pub mod trace;

pub use admin::{Admin, AuditEntry, DeadChange, DeadFilter, DeadLetter, PartitionStats, Stats};
#[cfg(feature = "tokio")]
pub use driver::{Ending, Health, Observer, Relay, RelayBuilder, WakeOnDrop, Waker};
pub use error::{StoreError, StoreErrorKind};
pub use event::{Event, IntoMessage, json};
pub use limits::{InvalidMessage, Limits};
pub use message::{Message, MessageBuilder, MessageParts};
pub use partition::Partition;
pub use publisher::{BatchLimits, FencingToken, Ordering, Outcome, Publisher};
pub use reason::Reason;
pub use store::{
    Epoch, Fate, FetchRequest, LaneRead, Lease, LeaseReport, LeaseRequest, LiveRelay, Page,
    ParkedLane, PartitionRead, RelayId, RereadRequest, RowBehind, RowRef, Seq, SettleReport,
    SettleRequest, Store, StoredRow, TxId, Verdict, VerdictAnswer, Visibility,
};
