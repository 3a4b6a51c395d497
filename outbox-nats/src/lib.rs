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
//! # What the duplicate window gives, and what not
//!
//! Within the stream's `duplicate_window` an id is stored once, so that what is sent again after a lost
//! answer, or late by a relay that stood still, makes no duplicate. The window is counted from when the
//! message was first stored, and kept by the stream alone: after it, in another stream, and after a
//! message was never stored at all, whatever comes late is taken. It doesn't compare one message with
//! another, so that it keeps no order: a message whose predecessor arrives after it stays before it.
//! For that there is the fence.
//!
//! # A fence
//!
//! A relay that stood still beyond its lease in the middle of a publish may send, when it wakes, what it
//! was about to send, after another has gone on with its partitions: a duplicate out of order. With the option
//! `fence` the stream refuses it. Before a relay sends the first message of a partition it claims the partition, by a
//! small message with the header `outbox-epoch` to the subject `{fence}.{partition}`, and only if the
//! last claim is of an earlier epoch. Each message then says which claim it is sent under, and the
//! stream takes it only as long as that is the last one. So what a former owner sends once its
//! successor has claimed the partition is fenced, and not in the stream; the reason names the later epoch.
//! Nobody waits for a former owner.
//!
//! - `fence` is a template like `destination`: `fence=fence.%7Btopic%7D` gives `fence.orders.3`. These subjects
//!   must be of the same stream as the messages' own, which needs them among its `subjects`. No topic may
//!   lead there: a message below its own topic's fence is rejected, and so is one to where the claims of any
//!   topic could be, which `fence.orders.3` is for a topic of that name. Consumers need a filter that leaves
//!   claims out: they have neither id nor topic. [`NatsTail`] shows none.
//! - Each outbox needs a fence of its own: the partitions of two have the same numbers.
//! - A stream forgets who has a partition when it drops the claim: `max_age`, `max_msgs` and `max_bytes`
//!   must keep claims for longer than a relay may stand still, and consumers of a work queue must not take them.
//!   The relay that has the partition claims it again where it finds its claim gone; until then a
//!   former one could do so. A stream that keeps what consumers are interested in keeps claims only for one that
//!   is interested in them: without it, all is unavailable. One that was deleted and made anew knows no claims,
//!   so that a former owner could have the partition until its present one sends something.
//! - A claim is one message more of its subject. `discard: new` with `discard_new_per_subject` and
//!   `max_msgs_per_subject` would refuse the successor's: all messages of the partition are fenced, and wait until the
//!   stream is set up otherwise; without `discard_new_per_subject` the last one stays, which is enough.
//! - After a database was restored from a backup its epochs may be lower than those that the stream has
//!   seen. Then everything is fenced: no attempt counts, the lanes rest, and the messages wait until
//!   `fence` gets another name, or the claims are purged from the stream.
//! - The servers must be of version 2.12 or later: before 2.11 they know nothing of it, and before 2.12 a stream with
//!   replicas takes the id of a message that it refused for one that it has. Each connection is made only to
//!   such a server. Where the stream's leader is an older one all the same, it refuses what is sent to it.
//! - A stream with replicas takes one message of a partition after the other, and refuses others as
//!   long as that takes, which are sent again in the same call. Three servers on one machine took some 500 a
//!   second of each partition, and 20,000 without the fence. A stream on one server takes as many
//!   at a time as it otherwise does.
//! - Where the epochs are missing, as for a service that calls `publish` itself, all is unavailable.
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
//! | a relay with a later epoch has the partition | fenced |
//! | the fence's subject is in no stream or another, or can't be asked for | unavailable |
//! | the stream refuses the claim | as of a message, but failed where that is rejected, and fenced where that is failed |
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
//! `$JS.API.>` is needed for `create_stream`; without it no message is rejected for want of a stream. A fence
//! needs its subjects, `$JS.API.STREAM.NAMES` and `$JS.API.STREAM.MSG.GET.{stream}` (with `domain`,
//! `$JS.{domain}.API.…`).
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
