//! What can go wrong with a connection.

use std::error::Error as StdError;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use async_nats::ConnectErrorKind;
use async_nats::jetstream::context::{
    CreateStreamError, CreateStreamErrorKind, GetStreamByNameError, GetStreamByNameErrorKind,
};
use async_nats::rustls;
use outbox_core::broker::InvalidUrl;

/// A wrong configuration, or a server that can't be used. No secret is in its text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NatsError {
    /// The URL can't be understood.
    #[error("the NATS URL is wrong: {0}")]
    Url(#[from] InvalidUrl),
    /// An option has a value that it can't have, or needs another.
    #[error("{0}")]
    Config(&'static str),
    /// The address of a server can't be understood.
    #[error("`{0}` is no address of a NATS server: write `host:port`")]
    Address(String),
    /// The credentials file or the nkey can't be read.
    #[error("{} can't be read as NATS credentials", .path.display())]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// No server could be reached, or none let us in.
    #[error("no NATS server can be used")]
    Connect(#[source] async_nats::ConnectError),
    /// No server answered in time.
    #[error("no NATS server answers")]
    TimedOut,
    /// The account may not subscribe where acknowledgements arrive.
    #[error(
        "the account may not subscribe to `{0}`, where acknowledgements arrive: permit it, or set \
         the option `inbox_prefix`"
    )]
    Inbox(Arc<str>),
    /// The connection was lost before it could be used.
    #[error("the connection to the NATS server was lost")]
    Lost,
    /// The thread of the connection can't be started.
    #[error("the thread of the NATS connection can't be started")]
    Thread(#[source] io::Error),
    /// The stream can't be created.
    #[error("the stream `{name}` can't be created")]
    CreateStream {
        /// Its name.
        name: String,
        /// Why.
        source: CreateStreamError,
    },
    /// The server doesn't know what the option `fence` needs.
    #[error("the option `fence` needs a NATS server 2.12 or later: this one is {version}")]
    CannotFence {
        /// The server's version.
        version: String,
    },
    /// To read a topic there must be a stream that takes it.
    #[error("no stream is found for the subject `{subject}`")]
    NoStream {
        /// The subject.
        subject: String,
        /// Why.
        source: GetStreamByNameError,
    },
    /// The topic has no destination, or one that is no NATS subject.
    #[error("{0}")]
    Destination(&'static str),
    /// The stream can't be read.
    #[error("the stream `{name}` can't be read")]
    Read {
        /// Its name.
        name: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The publisher was closed.
    #[error("the publisher is closed")]
    Closed,
}

impl NatsError {
    /// Whether the same call may succeed later, without anybody changing the configuration.
    pub fn is_retryable(&self) -> bool {
        match self {
            Self::Connect(error) => match error.kind() {
                ConnectErrorKind::Dns | ConnectErrorKind::TimedOut => true,
                ConnectErrorKind::Io => !is_mistrust(error),
                _ => false,
            },
            Self::CreateStream { source, .. } => match source.kind() {
                // Such as: another stream has these subjects.
                CreateStreamErrorKind::JetStream(error) => error.code() >= 500,
                CreateStreamErrorKind::EmptyStreamName
                | CreateStreamErrorKind::InvalidStreamName => false,
                _ => true,
            },
            Self::NoStream { source, .. } => {
                source.kind() != GetStreamByNameErrorKind::InvalidSubject
            }
            Self::TimedOut | Self::Lost | Self::Thread(_) | Self::Read { .. } => true,
            _ => false,
        }
    }

    pub(crate) fn read(name: &str, source: Box<dyn StdError + Send + Sync>) -> Self {
        Self::Read { name: name.to_owned(), source }
    }
}

/// Whether one side doesn't take the other's certificate, or they have no version of TLS in common.
fn is_mistrust(error: &(dyn StdError + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let of_tls = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if of_tls.is_some() {
            return true;
        }
        next = error.source();
    }
    false
}
