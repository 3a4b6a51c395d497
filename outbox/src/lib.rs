//! A transactional outbox: events that are published if, and only if, their transaction committed.
//!
//! A service stores a [`Message`] in the transaction that changes its data; a [`Relay`] reads what
//! was committed and hands it to a [`Publisher`]. What is promised: every message of a committed
//! transaction arrives at least once, those of one key in order, and none of a transaction that
//! rolled back.
//!
//! # In a service
//!
//! A service has a pool already. It enqueues in transactions of that pool; the relay's store takes
//! from the pool where to connect, but no connection:
//!
//! ```no_run
//! # #[cfg(all(feature = "sqlx-postgres", feature = "file"))]
//! # async fn example(pool: sqlx::PgPool) -> Result<(), Box<dyn std::error::Error>> {
//! use std::sync::Arc;
//!
//! use outbox::sqlx::Outbox;
//! use outbox::{CancellationToken, Message, Relay};
//!
//! let outbox = Outbox::open(&pool).await?;
//!
//! let store = Arc::new(outbox.store().await?);
//! let publisher = outbox::connect_publisher("file:events.jsonl").await?;
//! let relay = Relay::builder(store, publisher).waker(outbox.waker()).build()?;
//! let stop = CancellationToken::new();
//! let relaying = tokio::spawn({
//!     let stop = stop.clone();
//!     async move { relay.run(stop).await }
//! });
//!
//! let mut tx = outbox.begin(&pool).await?;
//! sqlx::query("UPDATE orders SET paid = true WHERE id = 42").execute(&mut *tx).await?;
//! tx.emit(Message::json("orders", &42).key(42).message_type("order.paid").build()?)?;
//! tx.commit().await?;
//!
//! stop.cancel();
//! relaying.await?;
//! # Ok(())
//! # }
//! ```
//!
//! # Events
//!
//! What a service tells of is a type of its own. With the feature `derive` it says by itself where
//! it goes, and `tx.emit(&event)` or `outbox.enqueue(&mut tx, &event)` takes it as it is.
//! The documentation of `outbox-derive` has all that it can say.
//!
//! ```
//! # #[cfg(feature = "derive")]
//! # fn example() -> Result<(), outbox::InvalidMessage> {
//! use outbox::{Event, Message};
//! use serde::Serialize;
//!
//! #[derive(Serialize, Event)]
//! #[event(topic = "orders", type = "order.paid")]
//! struct OrderPaid {
//!     #[event(key)]
//!     order: u64,
//! }
//!
//! let message = Message::event(&OrderPaid { order: 42 }).header("tenant", "acme").build()?;
//! assert_eq!(message.key(), Some("42"));
//! # Ok(())
//! # }
//! # #[cfg(feature = "derive")]
//! # example().unwrap();
//! ```
//!
//! # By URL
//!
//! A program that only relays, migrates or looks after an outbox names its database by URL: see
//! [`StoreUrl`] and [`connect_publisher`].
//!
//! # Features
//!
//! None is on by default.
//!
//! | feature | adds |
//! |---|---|
//! | `sqlx-postgres` | PostgreSQL through sqlx |
//! | `sqlx-mysql` | MySQL and MariaDB through sqlx |
//! | `sqlx-sqlite` | SQLite, built in, through sqlx |
//! | `diesel-postgres`, `diesel-mysql`, `diesel-sqlite` | the same through diesel-async; `outbox-diesel` has more |
//! | `seaorm-postgres`, `seaorm-mysql`, `seaorm-sqlite` | the same through SeaORM; `outbox-seaorm` has more |
//! | `kafka` | Apache Kafka |
//! | `nats` | NATS JetStream |
//! | `rabbitmq` | RabbitMQ |
//! | `sqs` | Amazon SQS |
//! | `redis` | Redis Streams |
//! | `file` | JSON lines to `stdout:` or `file:PATH` |
//! | `derive` | `#[derive(Event)]` |
//! | `opentelemetry` | messages carry the trace in which they are made (`outbox::trace`) |

mod error;
mod lazy;
mod publisher;
mod redact;
mod scheme;
mod store;

#[doc(hidden)]
pub use outbox_core::__derive;
pub use outbox_core::broker;
#[cfg(feature = "opentelemetry")]
pub use outbox_core::trace;
pub use outbox_core::{
    Admin, AuditEntry, BatchLimits, DeadChange, DeadFilter, DeadLetter, Ending, Epoch, Event,
    FencingToken, Health, IntoMessage, InvalidMessage, Limits, Message, MessageBuilder,
    MessageParts, Observer, Ordering, Outcome, Partition, PartitionStats, Publisher, Reason, Relay,
    RelayBuilder, RelayId, Stats, Store, StoreError, StoreErrorKind, Waker, json, relay,
    relay::{Backoff, DeadLetterPolicy, InvalidConfig, RelayConfig, RetryPolicy},
};
#[cfg(feature = "derive")]
pub use outbox_derive::Event;
#[cfg(any(feature = "diesel-postgres", feature = "diesel-mysql", feature = "diesel-sqlite"))]
pub use outbox_diesel as diesel;
#[cfg(feature = "file")]
pub use outbox_file as file;
#[cfg(feature = "kafka")]
pub use outbox_kafka as kafka;
#[cfg(feature = "nats")]
pub use outbox_nats as nats;
#[cfg(feature = "rabbitmq")]
pub use outbox_rabbitmq as rabbitmq;
#[cfg(feature = "redis")]
pub use outbox_redis as redis;
#[cfg(any(feature = "seaorm-postgres", feature = "seaorm-mysql", feature = "seaorm-sqlite"))]
pub use outbox_seaorm as seaorm;
#[cfg(any(feature = "sqlx-postgres", feature = "sqlx-mysql", feature = "sqlx-sqlite"))]
pub use outbox_sqlx as sqlx;
#[cfg(feature = "sqs")]
pub use outbox_sqs as sqs;
/// Tells a relay to stop.
pub use tokio_util::sync::CancellationToken;

pub use error::Error;
pub use lazy::LazyPublisher;
pub use publisher::{connect_publisher, connect_tail};
pub use redact::redact;
pub use store::{Connected, StoreUrl};

/// The samples of the README, compiled.
#[cfg(all(doctest, feature = "sqlx-sqlite", feature = "file"))]
#[doc = include_str!("../../README.md")]
#[derive(Debug)]
pub struct Readme;

/// The same service in every ORM, compiled.
#[cfg(all(doctest, feature = "sqlx-sqlite", feature = "diesel-sqlite", feature = "seaorm-sqlite"))]
#[doc = include_str!("../../ORMS.md")]
#[derive(Debug)]
pub struct Orms;
