//! What can go wrong with a configuration or with SQS as a whole.

use outbox_core::Reason;
use outbox_core::broker::InvalidUrl;

/// A wrong configuration, or an SQS that can't be used. No secret is in its text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SqsError {
    /// The URL can't be understood.
    #[error("the SQS URL is wrong: {0}")]
    Url(#[from] InvalidUrl),
    /// An option has a value that it can't have, or needs another.
    #[error("{0}")]
    Config(&'static str),
    /// The file of the option `ca` can't be read, or has no certificates.
    #[error("the option `ca` has no certificates that can be used: {0}")]
    Certificates(Reason),
    /// There is no access key, neither in the configuration nor where the SDK looks for one, or
    /// what is there can't be understood.
    #[error("no access key can be used: {0}")]
    AccessKey(Reason),
    /// The endpoint's certificate isn't trusted, or there is no version of TLS in common.
    #[error("no secure connection to SQS can be made: {0}")]
    Tls(Reason),
    /// SQS can't be reached or is out of order, or an access key couldn't be fetched in time.
    #[error("SQS can't be used: {0}")]
    Unavailable(Reason),
    /// SQS doesn't let us in.
    #[error("{0}")]
    Refused(Reason),
    /// The topic has no destination, or one that is no queue or doesn't exist.
    #[error("{0}")]
    Destination(Reason),
}

impl SqsError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unavailable(_))
    }
}
