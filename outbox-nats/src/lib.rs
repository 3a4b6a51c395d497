//! Publishes outbox messages to NATS JetStream.
//!
//! ```no_run
//! # async fn run() -> Result<(), outbox_nats::NatsError> {
//! use outbox_nats::{NatsConfig, NatsPublisher};
//!
//! let config: NatsConfig = "nats://relay:secret@one:4222,two:4222".parse()?;
//! let publisher = NatsPublisher::connect(config).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`NatsConfig`] lists the options. [`NatsTail`] reads what arrives.
//!
//! # A message in NATS
//!
//! | part | in NATS |
//! |---|---|
//! | topic | the subject, by the option `destination` |
//! | id | header `Nats-Msg-Id`: the stream recognises a message that is sent again |
//! | key | header `outbox-key` |
//! | type | header `outbox-type` |
//! | content type | header `outbox-content-type` |
//! | creation | header `outbox-created-at`, microseconds since the Unix epoch |
//! | headers | headers of the same names, and `outbox-headers` where that doesn't say all |
//! | payload | the payload |
//!
//! - Key, type and content type are percent-encoded if they contain `%` or a control character, or
//!   begin or end with white space; otherwise they stand as they are. Decoding is right in both cases.
//! - The headers of NATS are a map from a name (case matters) to a list of values, and clients cut
//!   white space off the ends of values. The values of one name keep their order. If the *names*
//!   aren't in ascending order (of their bytes), or a value begins or ends with white space,
//!   `outbox-headers` has one item for each header, in order, separated by spaces: the name,
//!   and behind a `=` the value, if it would be cut; both percent-encoded. Only who must have
//!   every header exactly as it was needs to look there.
//! - A name that isn't of visible ASCII, contains a colon or begins with `Nats-`, and a value with a
//!   line break or NUL, are rejected, as is a header section beyond 64 KiB.
//! - A subject with white space, control characters, empty parts or wildcards is rejected, and
//!   so is one below `$JS` or `$SYS`, where it would command the server.
//!
//! # What delivered means
//!
//! The stream has acknowledged the message: its leader has stored it, and so has a majority of its
//! replicas if it has any. That it has seen the id before is an acknowledgement, too; a stream
//! remembers ids for its duplicate window (two minutes by default), after which a message that is
//! sent again is stored again, under the same id. No option weakens this, but the stream's own
//! settings matter: one kept in memory ends with its server; one without replicas is on the disk of
//! a single server, which synchronises every two minutes by default (`sync_interval`), so that a
//! power failure can lose what was acknowledged. A stream with `no_ack` never acknowledges, and
//! nothing is ever delivered to it.
//!
//! # Order
//!
//! Messages go over one connection in the batch's order, up to `max_pending` before the first is
//! acknowledged. A stream that refuses one takes those after it, so that the order is
//! [`Independent`](outbox_core::Ordering::Independent): the relay sends one message of a key at a time.
//!
//! # Errors
//!
//! | what happened | outcome |
//! |---|---|
//! | larger than the server's `max_payload`, with its headers; checked before anything is sent | rejected |
//! | larger than the stream's `max_msg_size`; the stream is sealed | rejected |
//! | nobody answers for the subject, and there is no stream for it | rejected |
//! | nobody answers for the subject, though there is a stream, or that can't be asked | unavailable |
//! | the account may not publish to the subject | unavailable |
//! | the stream or the account is full, JetStream is off, any other error of the class 500 | unavailable |
//! | the subject is full, any other error of the class 400 | failed |
//! | too many requests | throttled |
//! | no server can be reached, or lets us in | unavailable |
//! | the connection was lost, or the deadline passed, before the message was handed over | unavailable |
//! | the same after it was handed over; an earlier copy is just being stored | unknown |
//!
//! # When a call is over
//!
//! Nothing of it is sent any more. The client's own queue would go on after the server has come back,
//! so the client never reconnects by itself: a lost connection is replaced by the next call. And
//! a call that ends with messages of which it isn't sure that they are on the wire ends the
//! connection; what other calls wait for on it becomes unknown. What the kernel has in its buffers by
//! then is on its way. In a cluster name several servers in
//! the URL: servers that the client could discover aren't used.

mod call;
mod config;
mod error;
mod link;
mod mapping;
mod outcome;
mod publisher;
mod tail;

pub use config::NatsConfig;
pub use error::NatsError;
pub use mapping::HEADERS;
pub use publisher::NatsPublisher;
pub use tail::NatsTail;
