//! Publishes outbox messages to Redis Streams.
//!
//! ```no_run
//! # async fn run() -> Result<(), outbox_redis::RedisError> {
//! use outbox_redis::{RedisConfig, RedisPublisher};
//!
//! let config: RedisConfig = "redis://relay:secret@localhost:6379/0".parse()?;
//! let publisher = RedisPublisher::connect(config).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`RedisConfig`] lists the options, among them those for a cluster and for sentinels. [`RedisTail`]
//! reads what arrives. Redis must be 5 or newer, and 6.2 for `create_stream=false`.
//!
//! # A message in Redis
//!
//! One entry of a stream, added by `XADD` with an id that Redis chooses:
//!
//! | part | in Redis |
//! |---|---|
//! | topic | the stream's key, by the option `destination` |
//! | id | field `outbox-id` |
//! | creation | field `outbox-created-at`, microseconds since the Unix epoch |
//! | content type | field `outbox-content-type` |
//! | key | field `outbox-key`, if it has one |
//! | type | field `outbox-type`, if it has one |
//! | headers | a field each, of the same name, in their order; a name may be there twice |
//! | payload | field `outbox-payload` |
//!
//! All of it is bytes for bytes. The payload's field has a reserved name, so that no header can be
//! taken for it. Clients that read an entry into a map keep one of several headers of one name.
//!
//! # What delivered means
//!
//! Redis has answered `XADD` with the id of the entry: it is in the server's memory, and in its
//! append-only file as far as that is configured. How durable that is Redis decides, not this
//! crate:
//!
//! - without `appendonly yes` a crash of the server loses what came after its last snapshot;
//! - with `appendfsync everysec`, the default, a power failure loses about a second;
//! - with `appendfsync always` the entry is on the disk before it is answered;
//! - replication is asynchronous: **a failover can lose what was delivered**. `wait_replicas` has each
//!   batch wait until so many replicas have it in memory (`WAIT`), which makes that unlikely, not
//!   impossible. If too few do in `wait_ms` the outcome is unknown: the master has the messages, and
//!   they are sent again. While too few have what was written over a connection before, nothing more
//!   is, and the messages are unavailable: replicas that stop cost one copy for each connection, not
//!   one for each attempt.
//!
//! A stream keeps everything until somebody trims it. `maxlen` lets each `XADD` do that, whether
//! consumers have read what goes or not; it is off by default.
//!
//! Redis doesn't recognise a message that is sent again: there are two entries with one `outbox-id`
//! then, by which consumers know the second.
//!
//! # Order
//!
//! A call takes up to 500 messages or 4 MiB (the default of
//! [`limits`](outbox_core::Publisher::limits)). The commands of a batch are sent over one connection,
//! in a cluster over one to each node, in its order, in pipelines without a transaction. Redis may
//! refuse one and take the next, so that the order is
//! [`Independent`](outbox_core::Ordering::Independent): the relay sends one message of a key at a
//! time. What a node of a cluster sends on to another arrives after the rest.
//!
//! # Errors
//!
//! | what happened | outcome |
//! |---|---|
//! | the message is larger than `max_message_bytes`, or a part of it than the server's `proto-max-bulk-len`; checked before it is sent | rejected |
//! | the key holds something that is no stream (`WRONGTYPE`), or an entry can't be that large | rejected |
//! | there is no such stream, with `create_stream=false` | rejected |
//! | the stream has given out its last id; a protocol error, by which a server that may not be asked for its limit answers to what is too large | failed |
//! | any other error that Redis answers, such as `OOM`, `MISCONF`, `NOREPLICAS`, `NOPERM`, `LOADING`, `READONLY`, `CLUSTERDOWN` | unavailable |
//! | `MOVED`, `ASK`: the stream is on another node; it is followed once in a call | what that one answers |
//! | too few replicas, before anything is sent | unavailable |
//! | no server can be reached, or lets us in | unavailable |
//! | the deadline passed before the message was handed over | unavailable |
//! | the connection was lost, or the deadline passed, before the answer; too few replicas answered `WAIT` | unknown |
//!
//! When a connection is lost the messages of a pipeline (128) are unknown as one, unless all of them
//! were answered.
//!
//! A message that is unavailable makes the relay rest everything that it sends to this publisher,
//! if only for a moment. Streams that shall not wait for each other have publishers of their own
//! (`route` of the relay's builder, `--route` of the program).
//!
//! # In a cluster
//!
//! Each message goes straight to the node that has its stream, and each node's messages for
//! themselves: one that dies or hangs takes no other's with it, though a call lasts until it has
//! been given up, at the latest by the deadline, and usually by `connect_timeout_ms`. After a failure all
//! nodes that are known are asked who serves what (`CLUSTER SLOTS`, which the user must be allowed),
//! and the first answer counts. `check` wants an answer from every node.
//!
//! `wait_replicas` can't be set for a cluster: delivered means that the stream's node has it.
//!
//! # When a call is over
//!
//! Nothing of it is sent any more. Each call has its connections to itself, and those on which
//! something was not answered end with it. They run on a thread of the publisher's own, which
//! has finished what it was just doing when the call returns. What the kernel hasn't sent by then is
//! thrown away with the connection; what the network has, or a server that stands still, still
//! arrives. The client neither reconnects nor repeats a command.
//!
//! TLS uses the process's default of rustls; if there is none this crate installs *ring*.

mod call;
mod cluster;
mod config;
mod error;
mod link;
mod mapping;
mod outcome;
mod pool;
mod publisher;
mod tail;
mod worker;

pub use config::RedisConfig;
pub use error::RedisError;
pub use mapping::{PAYLOAD, message_id};
#[doc(hidden)]
pub use mapping::{received as __received, round_trip as __round_trip};
pub use publisher::RedisPublisher;
pub use tail::RedisTail;
