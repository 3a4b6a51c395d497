//! What can go wrong with a configuration or a connection.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;

use outbox_core::broker::InvalidUrl;

/// A wrong configuration, or a broker that can't be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RabbitMqError {
    /// The URL can't be used.
    #[error("the RabbitMQ URL is wrong: {0}")]
    Url(#[from] InvalidUrl),
    /// Options that don't go together, or a value that isn't possible.
    #[error("the configuration for RabbitMQ is wrong: {0}")]
    Config(&'static str),
    /// A certificate or key can't be read.
    #[error("{} can't be read", .path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No connection in time.
    #[error("RabbitMQ at {host} does not answer within {millis} ms")]
    Timeout {
        /// Host and port.
        host: String,
        /// [`connect_timeout_ms`](crate::RabbitMqConfig::connect_timeout_ms).
        millis: u64,
    },
    /// The broker doesn't let us in: wrong password, no such virtual host, no access to it.
    #[error("RabbitMQ at {host} refuses the connection: {says}")]
    Refused {
        /// Host and port.
        host: String,
        /// What the broker says.
        says: String,
    },
    /// No connection.
    #[error("RabbitMQ at {host} can't be reached")]
    Connect {
        /// Host and port.
        host: String,
        /// Why.
        source: Box<lapin::Error>,
    },
    /// The connection was lost.
    #[error("the connection to RabbitMQ failed")]
    Lost(#[from] Box<lapin::Error>),
    /// The publisher was closed.
    #[error("the publisher is closed")]
    Closed,
}

impl RabbitMqError {
    /// Whether the same call may succeed later, without anybody changing the configuration.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect { source, .. } => !is_mistrust(&**source),
            Self::Timeout { .. } | Self::Lost(_) => true,
            _ => false,
        }
    }
}

/// Whether one side doesn't take the other's certificate, or they have no version of TLS in common.
fn is_mistrust(error: &(dyn StdError + 'static)) -> bool {
    // What an I/O error holds isn't its source.
    let held = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
    match held {
        Some(held) => is_mistrust(held),
        None => error.is::<rustls::Error>() || error.source().is_some_and(is_mistrust),
    }
}
