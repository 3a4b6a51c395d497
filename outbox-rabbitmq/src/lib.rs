//! Publishes outbox messages to RabbitMQ.
//!
//! ```no_run
//! # async fn run() -> Result<(), outbox_rabbitmq::RabbitMqError> {
//! use outbox_rabbitmq::{RabbitMqConfig, RabbitMqPublisher};
//!
//! let config: RabbitMqConfig = "amqp://shop:secret@rabbit/%2f?exchange=events".parse()?;
//! let publisher = RabbitMqPublisher::connect(config).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Without [`exchange`](RabbitMqConfig::exchange) messages go through the default exchange: their
//! destination is a queue's name. With it, the destination is the routing key.
//!
//! # What a message becomes
//!
//! | message | AMQP |
//! |---|---|
//! | id | property `message_id`, hyphenated |
//! | topic | routing key, by [`destination`](RabbitMqConfig::destination) |
//! | key | header `outbox-key` |
//! | type | property `type` |
//! | content type | property `content_type` |
//! | time of creation | property `timestamp` (seconds), header `outbox-created-at` (microseconds since the Unix epoch, in decimal) |
//! | headers | headers of the same names, as text |
//! | payload | body |
//!
//! Messages are persistent (`delivery_mode` 2). A table of headers holds each name once, in no
//! order that counts: the values of a name that stands there several times are an array, in their
//! order; if more than that is needed to restore the order, the header `outbox-header-names` ([`HEADER_NAMES`]) is
//! the array of all names as they stood. Headers named `CC` and `BCC` are rejected: the
//! broker would take them for routing keys.
//!
//! # What delivered means
//!
//! The broker has routed the message to at least one queue and confirmed it (publisher confirms):
//! a quorum queue has it on a majority of its nodes, a durable classic queue on disk. No option
//! turns confirms, `mandatory` or persistence off. A queue that isn't durable, or that
//! drops its oldest message when it is full (`overflow` other than `reject-publish`), may lose what
//! was delivered; that is the queue's to decide.
//!
//! # Errors
//!
//! | what happens | outcome |
//! |---|---|
//! | confirmed | delivered |
//! | returned by the default exchange, and there is no such queue | rejected |
//! | the same, with a queue that `declare_queues` had found or created | failed; the next publish creates it again |
//! | returned by the default exchange, though the queue is there, or nobody can say (the node that has it is down) | unavailable |
//! | returned by another exchange: no queue is bound to it, or the nodes of all that are, are down; AMQP doesn't say which | failed |
//! | no such exchange | rejected, for the messages to it |
//! | no destination for the topic | rejected |
//! | too large, a header's name too long, `CC`, `BCC`, headers larger than a frame less 1 KiB | rejected |
//! | the broker closes the channel for a message that was alone on it: too large for the broker (311, 406), no such exchange (404) | rejected |
//! | negatively confirmed (a queue is full and rejects, or failed) | failed |
//! | the user may not write to the exchange (403) | failed, for the messages to it |
//! | the user may not write to a topic of the exchange (403) | failed if the message was alone, else unknown |
//! | the queue can't be created: no permission (403), another of its name (406) | failed |
//! | the queue can't be created: its node is down, it is locked (405), no answer | unavailable |
//! | publishing is blocked (`connection.blocked`: memory or disk alarm) before all of it was written | unavailable |
//! | no connection; or lost before the broker can have had all of the message | unavailable |
//! | the deadline passed before it was written; the publisher is closed, or being closed | unavailable |
//! | connection or channel lost, or the deadline passed, after it was sent, or may have been | unknown |
//!
//! What was unroutable is *confirmed* by the broker, after it was returned. The client hands the
//! returned message out with some confirmation, not always with its own: this publisher matches it by
//! `message_id`, and answers for no message before all that could have come back has.
//!
//! # Logs
//!
//! This crate logs no part of a message. The client logs whole messages that come back, with their
//! payload, under the target `lapin::returned_messages`: turn it off, as the program `outbox` does.
//!
//! # Order
//!
//! [`Independent`](outbox_core::Ordering::Independent): the broker takes the messages of a channel
//! in their order, but goes on after one that it didn't take.
//!
//! # Limits
//!
//! Payloads of at most [`max_message_bytes`](RabbitMqConfig::max_message_bytes); types, content
//! types, names of headers, routing keys and names of exchanges of at most 255 bytes; all
//! properties and headers together within one frame (128 KiB unless the broker says otherwise),
//! less 1 KiB for what the broker adds on the way to a consumer.
//!
//! # Connections
//!
//! All publishes share one connection; each has a channel of its own while it runs. What was
//! handed to the client can't be taken back from it: when a publish ends or is dropped before
//! the broker is known to have read all of it, the connection is reset, so that nothing is sent later.
//! Publishes that run beside it become unknown and the next one connects anew: to the same server,
//! or if that can't be reached, to the next of [`servers`](RabbitMqConfig::servers). If the broker was
//! blocking, an empty message to no queue first asks whether it still does.
//!
//! # Logs
//!
//! The client warns of each message that comes back, payload included. It does so on a thread of its
//! own, which this crate keeps out of `tracing`; errors are in the outcomes. At level `TRACE` the
//! client may log whole frames on other threads: keep the target `lapin` above it.

mod config;
mod departure;
mod error;
mod flight;
mod guard;
mod link;
mod mapping;
mod outcome;
mod presence;
mod publisher;
mod record;
mod silence;
mod socket;
mod tail;

pub use config::{QueueType, RabbitMqConfig};
pub use error::RabbitMqError;
pub use mapping::{HEADER_NAMES, message_id};
#[doc(hidden)]
pub use mapping::{open as __received, round_trip as __round_trip};
pub use publisher::RabbitMqPublisher;
pub use tail::RabbitMqTail;
