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
//! # Logs
//!
//! This crate logs no part of a message. The client logs headers and passwords at the level TRACE
//! under the target `async_nats::connection`: turn it off, as the program `outbox` does.
//!
//! # Order
//!
//! A call takes up to 500 messages or 4 MiB (the default of
//! [`limits`](outbox_core::Publisher::limits)). They go over one connection in the batch's order, as
//! many at a time as `max_pending` permits, over all calls: with 256, the default, the second half of
//! a full batch waits for the first answers. A subject that hasn't answered yet, or was silent the
//! last time, gets an eighth of that, so that one which never answers lets others pass; those of its
//! keys wait with it.
//! A stream that refuses one message takes those after it, so that the order is
//! [`Independent`](outbox_core::Ordering::Independent): the relay sends one message of a key at a time.
//!
//! # Errors
//!
//! | what happened | outcome |
//! |---|---|
//! | larger than the server's `max_payload`, with its headers; checked before it is sent, against what the server said at most a second ago | rejected |
//! | larger than the stream's `max_msg_size`; the stream is sealed | rejected |
//! | nobody answers for the subject, and no stream is known that takes it | unavailable, or rejected: see below |
//! | nobody answers for the subject, though there is a stream, or that can't be asked | unavailable |
//! | the account may not publish to the subject, or not subscribe to what answers come to | unavailable |
//! | the subject is full | failed |
//! | too many requests | throttled |
//! | the stream or the account is full, JetStream is off, any other error that is answered | unavailable |
//! | no server can be reached, or lets us in | unavailable |
//! | the connection was lost, or the deadline passed, before the message was handed over | unavailable |
//! | the same after it was handed over; an earlier copy is just being stored | unknown |
//!
//! A message that is unavailable makes the relay rest everything that it sends to this publisher,
//! if only for a moment: one stream that is full or has no leader is felt by all. Streams that shall
//! not wait for each other have publishers of their own (`route` of the relay's builder, `--route` of the
//! program).
//!
//! # Where there is no stream
//!
//! Nobody answers for a subject that no stream takes, and nobody answers while the stream that takes
//! it can't be reached. JetStream is asked which of both it is, but it only knows the streams of one
//! account in one domain: not those behind a leaf node, which have a domain of their own, and not
//! those of accounts from which the subject is imported. That it knows none rejects a message only
//! if the configuration says that all streams are there: `reject_without_stream`, with `domain` where
//! they aren't in the domain of the server that is connected to. Otherwise the message waits until
//! somebody creates the stream, or the way there is open again, or the relay finds that it fails alone
//! while others pass.
//!
//! The same is asked when nothing is heard for two seconds (or half of the time that is left): somebody
//! may listen to the subject who isn't a stream. With `create_stream` the stream is created whenever it is
//! missed.
//!
//! # What an account must be allowed
//!
//! To publish to its subjects, and to subscribe to `_INBOX.>`, or what `inbox_prefix` says in its place. Each
//! connection tries the latter before anything is published, by a message to itself. Publishing to
//! `$JS.API.>` is needed for `create_stream`; without it no message is rejected for want of a stream.
//!
//! # When a call is over
//!
//! Nothing of it is sent any more. The client's own queue would go on after the server has come back,
//! so the client never reconnects by itself: a lost connection is replaced by the next call, after it
//! has ended. And a call that ends with messages of which it isn't sure that they are on the wire ends
//! the connection; what other calls wait for on it becomes unknown.
//!
//! On the wire is what the kernel has. Its buffers take some megabytes, and it goes on sending
//! them when the connection has ended: to a server that stood still they may arrive long after the
//! call, which has left them unknown. The stream recognises what was sent again meanwhile by its id.
//!
//! In a cluster name several servers in the URL: servers that the client could discover aren't used.

mod call;
mod claim;
mod config;
mod error;
mod fence;
mod link;
mod lookup;
mod mapping;
mod outcome;
mod publisher;
mod rounds;
mod subjects;
mod tail;
mod thread;

pub use config::NatsConfig;
pub use error::NatsError;
pub use mapping::{HEADERS, message_id};
#[doc(hidden)]
pub use mapping::{received as __received, round_trip as __round_trip};
pub use publisher::NatsPublisher;
pub use tail::NatsTail;
