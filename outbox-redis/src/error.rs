//! What can go wrong with a connection.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

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
    /// The thread of the connections can't be started.
    #[error("the thread of the Redis connections can't be started")]
    Thread(#[source] io::Error),
    /// No node of the cluster serves the stream.
    #[error("no node of the Redis cluster serves the stream `{0}`")]
    NoNode(String),
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
    /// Whether the same call may succeed later, without anybody changing the configuration.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => match error.kind() {
                ErrorKind::AuthenticationFailed
                | ErrorKind::InvalidClientConfig
                | ErrorKind::EmptySentinelList => false,
                _ => match error.code() {
                    Some("NOAUTH" | "WRONGPASS") => false,
                    // That server hasn't so many.
                    Some(_) => !error.detail().is_some_and(|says| says.contains("DB index")),
                    None => !is_mistrust(error),
                },
            },
            Self::TimedOut | Self::Thread(_) | Self::NoNode(_) => true,
            _ => false,
        }
    }
}

/// Whether one side doesn't take the other's certificate, or they have no version of TLS in common.
fn is_mistrust(error: &redis::RedisError) -> bool {
    let source = error.source().and_then(|it| it.downcast_ref::<Arc<dyn StdError + Send + Sync>>());
    let io = source.and_then(|source| source.downcast_ref::<io::Error>());
    let inner = io.and_then(io::Error::get_ref);
    inner.and_then(|inner| inner.downcast_ref::<rustls::Error>()).is_some()
}
