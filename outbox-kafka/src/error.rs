//! What can go wrong before anything is published.

use outbox_core::broker::InvalidUrl;

/// A wrong configuration, or brokers that can't be reached.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KafkaError {
    /// The URL can't be used.
    #[error("the Kafka URL is wrong: {0}")]
    Url(#[from] InvalidUrl),
    /// Options that don't fit together.
    #[error("{0}")]
    Config(&'static str),
    /// An option of librdkafka's that this adapter sets itself.
    #[error("the option `{option}` can't be set: {reason}")]
    Fixed {
        /// Its name.
        option: String,
        /// Why not, or what to use instead.
        reason: &'static str,
    },
    /// An option that librdkafka doesn't have, or a value that it doesn't take. The value isn't
    /// shown: it may be a secret.
    #[error("librdkafka does not take the option `{option}`: {problem}")]
    Option {
        /// Its name.
        option: String,
        /// Whether it is the name or the value.
        problem: &'static str,
    },
    /// librdkafka can't be started with these options.
    #[error("librdkafka can't be started: {0}")]
    Client(String),
    /// No broker answers.
    #[error("no Kafka broker answers: {0}")]
    Unreachable(String),
    /// The broker refuses this client: its credentials, its certificate, or its rights.
    #[error("Kafka refuses the connection: {0}")]
    Refused(String),
    /// The topic doesn't exist.
    #[error("the Kafka topic `{0}` does not exist")]
    NoTopic(String),
    /// The configuration maps the topic to no Kafka topic.
    #[error("the topic `{0}` has no destination")]
    NoDestination(String),
    /// A relay with a later epoch has the partition of the outbox: it may be written for under no
    /// earlier one.
    #[error(
        "a relay with the later epoch {epoch} has partition {partition}: the fence refuses this one"
    )]
    Overtaken {
        /// Of the outbox.
        partition: u16,
        /// The later one.
        epoch: i64,
    },
    /// Another producer has written for the partition of the outbox, and there was no time to find
    /// out under which epoch.
    #[error("another producer has taken over partition {partition}: the fence refuses this one")]
    Contested {
        /// Of the outbox.
        partition: u16,
    },
    /// Messages of no relay's, with a fence.
    #[error("the option `fence` needs the epochs of a relay, which come by `publish_fenced`")]
    NoEpochs,
    /// The brokers can't wait for what is being committed.
    #[error("the option `fence` needs Kafka 2.5 or newer")]
    TooOld,
    /// The publisher was closed.
    #[error("the publisher is closed")]
    Closed,
}

impl KafkaError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::NoTopic(_))
    }
}
