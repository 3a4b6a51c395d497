//! Publishes outbox messages as JSON lines to a file or to standard output.
//!
//! ```no_run
//! # async fn run() -> Result<(), outbox_file::FileError> {
//! use outbox_file::{FileConfig, FilePublisher};
//!
//! let config: FileConfig = "file:/var/lib/shop/events.jsonl".parse()?;
//! let publisher = FilePublisher::connect(config).await?;
//! # Ok(())
//! # }
//! ```
//!
//! Each message is one line (wrapped here):
//!
//! ```json
//! {"id":"0197f2f0-4d2b-7c3e-9a55-0d3b8a1c2e4f","topic":"orders","key":"customer-7",
//!  "type":"order.placed","content_type":"application/json","headers":[["tenant","acme"]],
//!  "created_at":1750946400123456,"payload":{"order":42}}
//! ```
//!
//! - `key` and `type` are `null` when the message has none; `headers` are pairs, in order.
//! - `created_at` counts microseconds since the Unix epoch.
//! - `payload` is the payload as it stands, byte for byte, if its content type is JSON and it is
//!   JSON on one line. Any other payload is in `payload_base64` instead.
//!
//! # What delivered means
//!
//! A file has been written and, unless [`FileConfig::sync`] is off, synchronised
//! (`fdatasync`) before any message counts as delivered: it survives a crash of the process, and of
//! the machine as far as its file system and disk do what they say. Without `sync` a crash of the
//! process loses nothing, a power failure may. The directory entry of a file that was just created
//! isn't synchronised. What reads standard output decides what becomes of it.
//!
//! # Failures
//!
//! A batch that can't be written to a file or synchronised completely is taken back by truncating
//! the file, and is [`Unavailable`](outbox_core::Outcome::Unavailable) as a whole; the file is
//! opened anew by the next. On standard output what was written before the failure stays delivered.
//! A line that was torn all the same (the process was killed, or what reads standard output was too
//! slow for the deadline) is ended before the next begins: a reader skips lines that don't parse.
//!
//! A reader of standard output may be slow or stand still: messages wait for it in the outbox, and
//! no attempt counts. Only a message that alone takes longer than a publish may last fails.
//!
//! # Several processes, and rotation
//!
//! Several processes may append to one file, as each locks it (`flock`) while it writes a batch.
//! Under the lock it compares the file with what is at the path (on Unix), and begins a new file
//! where the old one was renamed or deleted. Whoever rotates must therefore
//!
//! - either rename the file, and read it to its end only after having had its lock:
//!   `mv events.jsonl events.1 && flock events.1 gzip events.1`. With `logrotate` that is
//!   `delaycompress`, which leaves a batch more than enough time; no signal is needed;
//! - or copy, truncate or delete it while holding its lock:
//!   `flock events.jsonl sh -c 'cp events.jsonl events.1 && : > events.jsonl'`. Without the lock
//!   (`copytruncate`) lines that come between the copy and the truncation are lost.

mod config;
mod descriptor;
mod error;
mod line;
mod progress;
mod publisher;
mod sink;

pub use config::{FileConfig, Target};
pub use error::FileError;
pub use line::json_line;
pub use publisher::FilePublisher;
