//! What can go wrong with a connection.

use std::io;
use std::path::PathBuf;

use outbox_core::broker::InvalidUrl;
use redis::ErrorKind;

/// A wrong configuration, or a server that can't be used. No secret is in its text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisError {
    /// The URL can't be understood.
    #[error("the Redis URL is wrong: {0}")]
    Url(#[from] InvalidUrl),
    /// An option has a value that it can't have, or needs another.
    #[error("{0}")]
    Config(&'static str),
    /// The address of a server can't be understood.
    #[error("`{0}` is no address of a Redis server: write `host:port`")]
    Address(String),
    /// A certificate or key can't be read.
    #[error("{} can't be read", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No server could be reached, or none let us in.
    #[error("the Redis server can't be used")]
    Connect(#[source] redis::RedisError),
    /// No server answered in time.
    #[error("the Redis server does not answer")]
    TimedOut,
    /// The topic has no destination.
    #[error("{0}")]
    Destination(&'static str),
    /// The publisher was closed.
    #[error("the publisher is closed")]
    Closed,
}

impl RedisError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => match error.kind() {
                ErrorKind::AuthenticationFailed
                | ErrorKind::InvalidClientConfig
                | ErrorKind::EmptySentinelList => false,
                _ => !matches!(error.code(), Some("NOAUTH" | "WRONGPASS")),
            },
            Self::TimedOut => true,
            _ => false,
        }
    }
}
