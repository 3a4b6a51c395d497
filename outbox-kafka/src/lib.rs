//! Publishes outbox messages to Apache Kafka.
//!
//! ```no_run
//! # async fn run() -> Result<(), outbox_kafka::KafkaError> {
//! use outbox_kafka::{KafkaConfig, KafkaPublisher};
//!
//! let config: KafkaConfig = "kafka://broker:9092?compression=zstd".parse()?;
//! let publisher = KafkaPublisher::connect(config).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Built on librdkafka, which is compiled in. Its TLS is OpenSSL's. Users are shown by password
//! or certificate: authentication by token (`OAUTHBEARER`) and Kerberos is missing.
//!
//! | of a message | in Kafka |
//! |---|---|
//! | topic | topic, as [`KafkaConfig::destination`] maps it |
//! | key | key, as bytes of UTF-8; no key is no key |
//! | payload | value; an empty one is empty, not a tombstone |
//! | creation time | timestamp, to the millisecond and never ahead of the clock, and the header `outbox-created-at`, to the microsecond: a topic may overwrite timestamps |
//! | id, type, content type | the headers `outbox-id`, `outbox-type`, `outbox-content-type` |
//! | headers | headers, in their order, duplicates included |
//!
//! A key goes to the same partition as with the Java client: [`Partitioner`].
//!
//! # What delivered means
//!
//! All replicas in sync have the message (`acks=all`), of which there are at least as many as the
//! topic's `min.insync.replicas`. Brokers flush to disk when they see fit: Kafka's durability is
//! its replication. No option weakens this.
//!
//! The producer is idempotent: within a call, what librdkafka sends again after a lost connection
//! is written once. A message that the relay publishes again may be written again, under the same
//! `outbox-id`.
//!
//! # Ordering
//!
//! By default it is [`Independent`](outbox_core::Ordering::Independent): an idempotent producer
//! goes on with the messages of a partition after one that the broker refused.
//!
//! With [`KafkaConfig::transactional_id`] each call is a Kafka transaction and the ordering
//! [`PrefixPerKey`](outbox_core::Ordering::PrefixPerKey). A message that can't be written takes
//! the transaction with it, and the call makes another without that message and what follows it
//! in its lane, so that one bad message doesn't stop the rest. Consumers must read what is
//! committed (`isolation.level=read_committed`). A relay that is killed leaves a transaction open,
//! for which they wait up to [`KafkaConfig::transaction_timeout_ms`].
//!
//! # Fencing
//!
//! A relay that stood still in the middle of a publish, beyond its lease, may go on when it wakes:
//! what it sends then comes after what its successor has sent. With [`KafkaConfig::fence`] brokers
//! refuse it. Each partition of the outbox has a transactional id, which all relays share, so that
//! a successor ends what its predecessor has begun, and needn't wait for it; and the epoch of its last
//! owner, which a relay claims before it writes, and which no earlier one gets past, however often it
//! connects. A message that is refused is [`Fenced`](outbox_core::Outcome::Fenced), for a reason that
//! names the later epoch: no attempt counts, and its lane rests.
//!
//! It takes Kafka 2.5 and consumers that read what is committed. The ordering is `PrefixPerKey`, as
//! each call makes a transaction for each partition of the outbox that it has messages of, side by
//! side; calls with messages of one partition take turns. Only relays can publish, as only they have
//! epochs.
//!
//! With `fence=NAME`:
//!
//! - there is a topic `NAME`, which [`KafkaConfig::create_topics`] creates, too. Nothing is written
//!   to it: epochs are the offsets of the groups `NAME-0`, `NAME-1` and so on in its partition 0,
//!   which nobody else may set or delete. Whoever deletes the topic deletes them;
//! - rights are needed to read (`Read`) the topic `NAME` and the groups that begin with `NAME-`, and
//!   to write (`Write`) by transactional ids that begin with `NAME-`;
//! - each outbox has a name of its own, and all of its relays have the same;
//! - after the database was restored from a backup, epochs may begin again below those that were
//!   claimed, and everything is refused. No attempt counts, and nothing becomes a dead letter: lanes
//!   rest, and messages wait until the fence has a new name;
//! - an epoch is forgotten `offsets.retention.minutes` after its claim, by default a week. A relay
//!   that has stood still for longer is only kept from what it was in the middle of.
//!
//! While a former owner opens producers at the same time as the owner, they end each other's
//! transactions, and those are tried again within their calls, unless they were being committed.
//!
//! # Failures
//!
//! | Kafka or librdkafka says | outcome |
//! |---|---|
//! | nothing: no broker can be reached, before anything is handed over | unavailable |
//! | still in librdkafka's queue at the deadline, and no connection was lost | unavailable |
//! | still in the queue, after a connection was lost; in flight at the deadline; timed out; any other error of librdkafka's own | unknown |
//! | out of sequence, producer epoch or id unknown, fenced; a fatal error | unknown |
//! | too few replicas after it was appended; request timed out | unknown |
//! | too few replicas, no leader, storage error | unavailable |
//! | no right to the cluster, not authenticated, compression or version not supported | unavailable |
//! | no right to the topic, or it may not be created | failed, and nothing is sent to it for 5 seconds |
//! | a name that no topic can have; a header of a reserved name | rejected, before anything is sent |
//! | invalid record or timestamp, too large for the topic, policy violation | rejected if it was alone in its request |
//! | the same, of a request with others | they are sent again one by one; if there is no time for it, half of them failed and the others throttled, for no time |
//! | larger than [`KafkaConfig::max_message_bytes`] | rejected, before anything is sent |
//! | the topic doesn't exist | rejected, after [`KafkaConfig::topic_wait_ms`] |
//! | the topic was just created by this publisher, and a broker doesn't know it yet | failed, after [`KafkaConfig::topic_wait_ms`] |
//! | the topic was deleted meanwhile | failed, then rejected; in a transaction first unavailable, with all of the batch |
//! | nothing, of a message that follows a refused one in its lane, in a transaction | throttled, for no time |
//! | nothing: no new producer can be connected, or the publisher is closed | unavailable |
//! | nothing: with a fence, a relay with a later epoch has the partition, or other producers of it become the newest until there is no time left | fenced |
//! | nothing: with a fence, and there are no epochs | unavailable |
//! | fenced while it writes, with a fence: another producer has taken over | the same call goes on, or finds that it is refused; fenced, too, if there is no time for that |
//! | fenced while it commits, with a fence | unknown: librdkafka may have tried the commit before, with success, and doesn't say so |
//! | nothing: the local queue is full, or all producers are busy until the deadline | throttled, for no time |
//! | quota exceeded | throttled |
//! | any other answer of a broker | failed |
//!
//! What librdkafka tries again by itself (too few replicas, a leader that moved, a lost
//! connection) it does until the deadline, under the same sequence number. In a transaction,
//! what is not committed is not delivered: unknown becomes unavailable, but for a commit
//! that is unanswered, or fenced.
//!
//! librdkafka knows of each failed message whether it may be written, but has no safe way to tell.
//! Hence the two rows about its queue: a message there was never sent, or it waits to be sent
//! again, which follows a lost connection or a time-out. Both appear in librdkafka's log. One case
//! does not: `NOT_ENOUGH_REPLICAS_AFTER_APPEND`, which is tried again quietly. A message that
//! waits for that at its deadline is unavailable, and may be there.
//!
//! One bad partition rests the whole publisher: without a leader, or with too few replicas, it is
//! unavailable at the deadline, and so is whatever else waits for that. The same holds, with
//! transactions, for a topic that may be described and not written to. Topics for which that is to
//! be expected are better routed to a publisher of their own.
//!
//! # Calls and producers
//!
//! Each call under way has a producer of its own, from a pool of [`KafkaConfig::connections`], so
//! that what one gives up is no other's. When a call is dropped or its deadline comes, its producer is
//! purged, which takes back what isn't on the wire, and thrown away: no sequence number is mended,
//! and no connection is used again that may have died without a word. The same becomes of one with
//! a fatal error, or one that has lost a connection. Purging takes until librdkafka's threads have
//! noticed. A call that ends waits for that until its deadline, and dropping one blocks up to 100
//! milliseconds; mostly it takes microseconds. A thread that takes longer is resolving a name: it
//! has nothing to send on yet, and finds the messages gone when it has.
//!
//! With transactions, a producer that is thrown away first aborts what it has left open, in up to 5
//! seconds, and the next call takes its transactional id, which ends it in any case. `close` waits
//! for that up to 10 seconds.
//!
//! With a fence each partition of the outbox has a producer of its own, of which as many write at once
//! as there are connections. Up to 64 that nobody uses stay connected; a relay with more partitions
//! than that opens producers all the time.
//!
//! # Limits
//!
//! A topic that gets more partitions is seen to have them within `metadata.max.age.ms`, by each
//! producer of the pool at its own time: meanwhile messages of one key may go to two partitions.
//! Unknown topics are looked up at once, up to 16 at a time, and the whole call waits for them.
//! A header whose name contains NUL is rejected. Topics are never created unless
//! [`KafkaConfig::create_topics`] says so, even if the brokers would.

mod call;
mod client;
mod config;
mod error;
mod fence;
mod mapping;
mod options;
mod outcome;
mod pool;
mod publisher;
mod register;
mod tail;
mod threads;
mod topics;
mod transaction;

pub use config::{Compression, KafkaConfig, Partitioner, SaslMechanism};
pub use error::KafkaError;
pub use mapping::message_id;
#[doc(hidden)]
pub use mapping::{message as __received, round_trip as __round_trip};
pub use publisher::KafkaPublisher;
pub use tail::KafkaTail;
