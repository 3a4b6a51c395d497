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
//!   they are sent again.
//!
//! A stream keeps everything until somebody trims it. `maxlen` lets each `XADD` do that, whether
//! consumers have read what goes or not; it is off by default.
//!
//! Redis doesn't recognise a message that is sent again: there are two entries with one `outbox-id`
//! then, by which consumers know the second.
//!
//! # Order
//!
//! The commands of a batch are sent over one connection in its order, in pipelines without a
//! transaction. Redis may refuse one and take the next, so that the order is
//! [`Independent`](outbox_core::Ordering::Independent): the relay sends one message of a key at a
//! time. In a cluster each command goes to its node by itself, in no certain order.
//!
//! # Errors
//!
//! | what happened | outcome |
//! |---|---|
//! | the message is larger than `max_message_bytes`; checked before anything is sent | rejected |
//! | the key holds something that is no stream (`WRONGTYPE`), or an entry can't be that large | rejected |
//! | there is no such stream, with `create_stream=false` | rejected |
//! | `OOM`, `MISCONF`, `NOREPLICAS`, `BUSY`, `LOADING`, `READONLY`, `MASTERDOWN`, `CLUSTERDOWN`, `TRYAGAIN` | unavailable |
//! | `MOVED`, `ASK`: the cluster's slots have moved; the client learns it for the next time | unavailable |
//! | `NOAUTH`, `WRONGPASS`, `NOPERM` | unavailable |
//! | no server can be reached, or lets us in | unavailable |
//! | any other error that Redis answers | failed |
//! | the connection was lost, or the deadline passed, before the answer; too few replicas answered `WAIT` | unknown |
//!
//! When a connection is lost the messages of a pipeline (32, in a cluster 1) are unknown as one, unless
//! all of them were answered.
//!
//! # When a call is over
//!
//! Each call has a connection to itself and ends it if it isn't over itself, with what is still in
//! the client's queue; only what its task is writing at that very moment, or the other side has
//! already, still arrives. The client repeats no command, and follows no redirection of a cluster.
//!
//! TLS uses the process's default of rustls; if there is none this crate installs *ring*.

mod config;
mod error;
mod link;
mod mapping;
mod outcome;
mod publisher;
mod tail;

pub use config::RedisConfig;
pub use error::RedisError;
pub use mapping::PAYLOAD;
pub use publisher::RedisPublisher;
pub use tail::RedisTail;
