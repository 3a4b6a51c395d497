//! Publishes outbox messages to Amazon SQS.
//!
//! ```no_run
//! # async fn run() -> Result<(), outbox_sqs::SqsError> {
//! use outbox_sqs::{SqsConfig, SqsPublisher};
//!
//! let config: SqsConfig = "sqs://eu-central-1?destination=shop-%7Btopic%7D.fifo".parse()?;
//! let publisher = SqsPublisher::connect(config).await?;
//! # Ok(())
//! # }
//! ```
//!
//! [`SqsConfig`] lists the options. [`SqsTail`] shows what arrives.
//!
//! # A message in SQS
//!
//! | part | in SQS |
//! |---|---|
//! | topic | the queue, by the option `destination`: a name, or a URL |
//! | id | attribute `outbox-id`; in a FIFO queue the `MessageDeduplicationId`, too |
//! | key | attribute `outbox-key`; in a FIFO queue the `MessageGroupId`, too |
//! | type | attribute `outbox-type` |
//! | content type | attribute `outbox-content-type` |
//! | creation | attribute `outbox-created-at`, microseconds since the Unix epoch |
//! | headers | attributes of the same names, or all in `outbox-headers` |
//! | payload | the body |
//!
//! - SQS takes the characters of XML 1.0 and nothing empty. A payload of such text is the body as it
//!   is. Any other is base64 in the body, and the attribute `outbox-body-encoding` is `base64`; of an
//!   empty payload that attribute is `empty`, and the body doesn't matter. With `body=reject` such
//!   messages are rejected.
//! - Attributes are of the type `String`. A text with other characters is of the type `Binary`: its
//!   bytes in UTF-8.
//! - A message has at most ten attributes, which have no order, and each name once. Headers are
//!   attributes of their own if they are few enough (at least four can be), their names are in
//!   ascending order of their bytes, each there once, of letters, digits, `_`, `-` and single inner
//!   dots, at most 256 long and not beginning with `AWS.` or `Amazon.`, and no value is empty.
//!   Otherwise they all stand in the attribute `outbox-headers`: a JSON array of pairs, `[["name","value"]]`,
//!   in their order. A `traceparent` among them is an attribute all the same.
//! - A queue is a FIFO queue if its name ends with `.fifo`. A group is the key if that has at most 128
//!   letters, digits and punctuation marks of ASCII; otherwise the SHA-256 of its bytes in hexadecimal.
//!   A message without a key has a group of its own, its id.
//! - A queue's name has letters, digits, `-` and `_`, at most 80, and no dots: a topic like `orders.eu`
//!   is rejected unless `destination` maps it. A queue given by its URL must be one of the region and
//!   endpoint that the configuration names.
//!
//! # What delivered means
//!
//! SQS has answered, for this very message, that it has stored it, which it does on several
//! servers. An answer with status 200 can name messages that it hasn't; one that isn't named at all
//! is unknown. A FIFO queue recognises a message that is sent again within five minutes by its id,
//! and says that it has it; in a standard queue, and later, it is there again. A queue drops what
//! nobody has received at the end of its retention period (4 days by default).
//!
//! # Order
//!
//! [`Independent`](outbox_core::Ordering::Independent): SQS takes each message of a request for
//! itself, so that the relay sends one message of a key at a time. A FIFO queue then hands them out
//! in that order. A standard queue promises no order whatever is done here.
//!
//! # What deduplication gives, and what not
//!
//! A FIFO queue stores an id once within five minutes of its first copy, which can't be changed. So what is
//! sent again after a lost answer makes no duplicate, nor does what a relay sends late that stood
//! still, unless it was longer than that. SQS compares ids, not messages with each other: a message that arrives
//! after those that follow it in its group stays behind them, and after five minutes a copy does, too. SQS has no condition
//! under which it would refuse what a former owner of a partition sends, so there is no fence here:
//! consumers that need the order beyond it keep it themselves, by a version in the message. A standard
//! queue deduplicates nothing.
//!
//! # Errors
//!
//! Of one message, in an answer to a request with several:
//!
//! | SQS says | outcome |
//! |---|---|
//! | successful | delivered |
//! | too many requests, of SQS or of its key service | throttled |
//! | the key service refuses, access denied, service unavailable | refused: see below |
//! | an access key that is unknown, expired or wrong | unavailable |
//! | anything else that is the sender's fault: characters, size | rejected |
//! | anything else | failed |
//! | nothing | unknown |
//!
//! Of a request:
//!
//! | what happened | outcome |
//! |---|---|
//! | no destination, a name that isn't a queue's, a reserved header, larger than `max_bytes`; checked before anything is sent | rejected |
//! | the queue doesn't exist, or its address is wrong (its URL is then asked for again) | failed |
//! | the same, with `create_queues`, of a queue that was there | refused |
//! | too many requests | throttled |
//! | access denied; the key service refuses; the queue was deleted a minute ago | refused |
//! | an access key that is unknown, expired or wrong | unavailable |
//! | service unavailable (503) | unavailable |
//! | an answer that isn't SQS's, of the classes 300 and 400 | unavailable |
//! | any other error of the class 400, with several messages | each is sent alone |
//! | the same with one: it is larger than SQS takes | rejected |
//! | the same with one: anything else | failed |
//! | no access key is found; no connection; the deadline passed before it was sent | unavailable |
//! | any other error of the class 500; an answer that makes no sense | unknown |
//! | the connection was lost, or the deadline passed, after it was sent | unknown |
//! | SQS can't be asked where the queue is, or its answer makes no sense | unavailable |
//!
//! [`SqsPublisher::connect`] fails for good where there is no access key or the endpoint's
//! certificate isn't trusted. A key that is taken away later doesn't cost the messages that wait.
//!
//! *Refused* may concern one queue, or all that the access key may do. Where another message of the
//! same call was delivered it is failed: the others need not rest, and the relay's attempts, ten
//! over some minutes unless it is told otherwise, leave time to put the queue right. Where none was
//! it is unavailable, so that a backlog doesn't die of a permission that is missing for a while.
//!
//! SQS says of a queue that the caller may not see that it doesn't exist. So this is failed, too,
//! and not rejected at once.
//!
//! # Requests
//!
//! A request carries up to ten messages to one queue within `max_bytes`, and up to `concurrency`
//! are under way at a time. The client's own retries are off. When a call is over or dropped, what
//! wasn't sent is never sent: a request that wasn't answered is cut off with its connection before
//! the call returns, and what the system still held of it is dropped, not sent.
//!
//! By HTTPS, the endpoint's certificate must come from an authority that the system trusts (its
//! certificate store, or `SSL_CERT_FILE` and `SSL_CERT_DIR`), or from one of the option `ca`. HTTP
//! proxies of the environment are not used.
//!
//! A queue whose `MaximumMessageSize` is lower than `max_bytes` rejects what is larger than that.
//! AWS takes up to 1 MiB (`max_bytes=1048576`); the default is what it took before, and what other
//! implementations still take.

mod client;
mod config;
mod error;
mod headers;
mod http;
mod mapping;
mod outcome;
mod packs;
mod publisher;
mod queues;
mod tail;

pub use config::{Body, SqsConfig};
pub use error::SqsError;
pub use headers::HEADERS;
pub use mapping::{BODY_ENCODING, message_id};
#[doc(hidden)]
pub use mapping::{received as __received, round_trip as __round_trip};
pub use publisher::SqsPublisher;
pub use tail::SqsTail;
