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
//! order; if more than that is needed to restore the order, the header `outbox-header-names` is
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
//! | returned: no queue takes it | rejected |
//! | no such exchange | rejected, for the messages to it |
//! | too large, a header's name too long, `CC`, `BCC`, a table of headers larger than a frame | rejected |
//! | negatively confirmed (a queue is full and rejects, or failed) | failed |
//! | the user may not write to the exchange | failed, for the messages to it |
//! | publishing is blocked (`connection.blocked`: memory or disk alarm) before it was sent | unavailable |
//! | no connection; or lost before the broker can have had all of the message | unavailable |
//! | connection or channel lost, or the deadline passed, after it was sent | unknown |
//!
//! What was unroutable is *confirmed* by the broker, after it was returned. The client hands the
//! returned message out with some confirmation, not always with its own: this publisher matches it by
//! `message_id`, and answers for no message before all that could have come back has.
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
//! properties and headers together within one frame (128 KiB unless the broker says otherwise).
//!
//! # Connections
//!
//! All publishes share one connection; each has a channel of its own while it runs. What was
//! handed to the client can't be taken back from it: when a publish ends or is dropped before
//! all of it was written, the connection is cut, so that nothing is sent later. Publishes that run
//! beside it become unknown and the next one connects anew. The client's log may show messages
//! that were returned, payload included: keep the target `lapin::returned_messages` out of logs.

mod config;
mod error;
mod flight;
mod link;
mod mapping;
mod outcome;
mod publisher;
mod socket;
mod tail;

pub use config::{QueueType, RabbitMqConfig};
pub use error::RabbitMqError;
pub use publisher::RabbitMqPublisher;
pub use tail::RabbitMqTail;
