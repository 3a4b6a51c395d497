//! What can go wrong with a file.

use std::io;
use std::path::PathBuf;

/// A wrong configuration, or a file that can't be written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The URL is of another kind. Only the scheme is shown: the rest may hold a secret.
    #[error("`{scheme}:` is neither `stdout:` nor `file:PATH`")]
    Scheme {
        /// What stands before the first colon.
        scheme: String,
    },
    /// The URL is `stdout:` with something behind it.
    #[error("`stdout:` takes no path and no options")]
    StdoutTakesNothing,
    /// The URL names no file.
    #[error("`file:` needs a path, such as `file:/var/lib/events.jsonl`")]
    NoPath,
    /// The URL names another host.
    #[error("`file://` is followed by a host: write `file:PATH` or `file:///PATH`")]
    Host,
    /// The path has a `%` that isn't followed by two hexadecimal digits, or isn't UTF-8.
    #[error("the path of the `file:` URL is not percent-encoded UTF-8")]
    Encoding,
    /// There is no such option.
    #[error("`file:` has no option `{name}`, only `sync`")]
    Option {
        /// Its name.
        name: String,
    },
    /// The option has another type.
    #[error("the option `sync` is `true` or `false`")]
    Sync,
    /// The directory of the file doesn't exist; it isn't created.
    #[error("the directory {} does not exist", .directory.display())]
    NoDirectory {
        /// Which directory.
        directory: PathBuf,
    },
    /// The file can't be opened.
    #[error("{} can't be opened", .path.display())]
    Open {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Writing failed.
    #[error("{target} can't be written")]
    Write {
        /// To what.
        target: String,
        /// Why.
        source: io::Error,
    },
    /// The publisher was closed.
    #[error("the publisher is closed")]
    Closed,
}

impl FileError {
    /// Whether the same call may succeed later.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NoDirectory { .. } | Self::Open { .. } | Self::Write { .. })
    }
}
