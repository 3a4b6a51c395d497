//! What can fail, and what to do about it.

use std::error::Error as StdError;

use outbox_core::{InvalidMessage, StoreError, StoreErrorKind};

/// An error of this crate. It shows neither payloads nor passwords: URLs in it are redacted.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A URL can't be read.
    #[error("the URL `{url}` can't be used: {problem}")]
    Url {
        /// The URL, redacted.
        url: String,
        /// What is wrong with it.
        problem: String,
    },
    /// No adapter serves such URLs.
    #[error("`{scheme}:` names no {what}")]
    Scheme {
        /// What was looked for: a store, a publisher, or a broker that can be read.
        what: &'static str,
        /// The scheme.
        scheme: String,
        /// The schemes that there are.
        known: String,
    },
    /// The adapter for such URLs isn't compiled in.
    #[error(
        "`{scheme}:` needs the feature `{feature}` of the crate `outbox`, which is not enabled"
    )]
    Feature {
        /// The scheme.
        scheme: String,
        /// The feature to enable.
        feature: &'static str,
    },
    /// The store can't be reached, or isn't fit for use.
    #[error("the store `{url}` can't be used")]
    Store {
        /// Its URL, redacted.
        url: String,
        /// Why.
        source: StoreError,
    },
    /// The outbox could not be migrated.
    #[error("migrating the store `{url}` failed")]
    Migrate {
        /// Its URL, redacted.
        url: String,
        /// Why.
        source: StoreError,
    },
    /// A broker can't be reached, or refuses what the URL asks for.
    #[error("the broker `{url}` can't be used")]
    Publisher {
        /// Its URL, redacted.
        url: String,
        /// Whether the same call may succeed later, without anybody changing the configuration.
        retryable: bool,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
    /// A message can't be stored. Nothing was written.
    #[error("a message can't be stored")]
    Message(#[from] InvalidMessage),
    /// Enqueueing failed. Nothing was written, unless the connection broke during the commit.
    #[error("enqueueing into `{url}` failed")]
    Enqueue {
        /// The store's URL, redacted.
        url: String,
        /// Why.
        source: Box<dyn StdError + Send + Sync>,
    },
}

impl Error {
    /// What to do about it, in a sentence.
    pub fn remedy(&self) -> String {
        match self {
            Self::Url { .. } => "correct the URL; special characters in user names, passwords \
                                 and paths are percent-encoded"
                .into(),
            Self::Scheme { known, .. } => format!("use one of {known}"),
            Self::Feature { feature, .. } => {
                format!("build with `cargo add outbox --features {feature}`")
            }
            Self::Migrate { source, .. } if source.kind() == StoreErrorKind::Schema => {
                "an outbox keeps its number of partitions for ever, and its tables may not be \
                 newer than the program; check `outbox_prefix` and `outbox_schema` of the URL"
                    .into()
            }
            Self::Store { source, .. } | Self::Migrate { source, .. } => {
                store_remedy(source).into()
            }
            Self::Publisher { retryable: true, .. } => {
                "check that the target exists and may be written, or that the broker runs".into()
            }
            Self::Publisher { retryable: false, .. } => {
                "correct the URL's user, password, certificates or options, or what the broker \
                 permits; trying again changes nothing"
                    .into()
            }
            Self::Message(_) => "change the message; nothing was written".into(),
            Self::Enqueue { .. } => "check the database and enqueue again; consumers that know \
                                     message ids notice if it had been written after all"
                .into(),
        }
    }
}

fn store_remedy(error: &StoreError) -> &'static str {
    match error.kind() {
        StoreErrorKind::Unavailable => {
            "check that the database runs, and the URL's host, port and path; a missing SQLite \
             file is created by `outbox migrate`"
        }
        StoreErrorKind::Conflict => "try again: other transactions hold locks for too long",
        // Not against tables that are newer than the program, or otherwise unfit.
        StoreErrorKind::Schema if error.to_string().contains("run its migration") => {
            "`outbox migrate` creates tables that are missing and updates older ones; check \
             `outbox_prefix` and `outbox_schema` of the URL"
        }
        StoreErrorKind::Schema => {
            "a migration changes nothing about that; check `outbox_prefix` and `outbox_schema` of \
             the URL"
        }
        _ => {
            "check the URL's user, password, database or path, and what that user may do; a SQLite \
             file is created by `outbox migrate`"
        }
    }
}
