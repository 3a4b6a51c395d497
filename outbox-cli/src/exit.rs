//! How the program ends.

use std::fmt;

use outbox::{Error, InvalidConfig, Reason, StoreError, StoreErrorKind};

/// The program's exit codes. [`HELP`] and the README list them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exit {
    Done = 0,
    Failed = 1,
    Usage = 2,
    Store = 3,
    Broker = 4,
    Input = 5,
}

pub(crate) const HELP: &str = "\
Exit codes:
  0  done
  1  failed, or stopped before all was finished
  2  wrong usage: an option, a URL or a setting
  3  the store can't be reached, or isn't migrated
  4  the broker can't be used
  5  the input is invalid; nothing was written";

/// What to do about a relay's option.
pub(crate) const OPTIONS: &str =
    "change that option; `outbox relay --help` tells what each is unless set";

/// Why a command ended: with which code, what failed, and what to do about it.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    message: String,
    remedy: Option<String>,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into(), remedy: None }
    }

    pub(crate) fn remedy(self, remedy: impl Into<String>) -> Self {
        Self { remedy: Some(remedy.into()), ..self }
    }

    /// An error with its causes.
    pub(crate) fn of(exit: Exit, error: &(dyn std::error::Error + 'static)) -> Self {
        Self::new(exit, Reason::of(error).as_str())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error: {}", self.message)?;
        match &self.remedy {
            Some(remedy) => write!(f, "\n help: {remedy}"),
            None => Ok(()),
        }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::from(&error)
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        let exit = match error {
            Error::Url { .. } | Error::Scheme { .. } | Error::Feature { .. } => Exit::Usage,
            Error::Store { .. } | Error::Migrate { .. } => Exit::Store,
            Error::Publisher { .. } => Exit::Broker,
            Error::Message(_) => Exit::Input,
            _ => Exit::Failed,
        };
        Self::of(exit, error).remedy(error.remedy())
    }
}

/// A call of an open store's failed.
impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        let (exit, remedy) = match error.kind() {
            StoreErrorKind::Unavailable => {
                (Exit::Store, "check that the database runs, and try again")
            }
            StoreErrorKind::Schema => (
                Exit::Store,
                "`outbox migrate` creates tables that are missing and updates older ones",
            ),
            StoreErrorKind::Conflict => {
                (Exit::Failed, "try again: other transactions hold locks for too long")
            }
            _ => (Exit::Failed, "check what the database's user may do"),
        };
        Self::of(exit, &error).remedy(remedy)
    }
}

impl From<InvalidConfig> for Failure {
    fn from(error: InvalidConfig) -> Self {
        Self::of(Exit::Usage, &error).remedy(OPTIONS)
    }
}

/// Anything else, such as a disk that is full.
impl From<std::io::Error> for Failure {
    fn from(error: std::io::Error) -> Self {
        Self::of(Exit::Failed, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code() {
        let all = [Exit::Done, Exit::Failed, Exit::Usage, Exit::Store, Exit::Broker, Exit::Input];
        let listed = HELP.lines().skip(1).map(|line| line.trim().split(' ').next().unwrap());
        assert_eq!(
            listed.collect::<Vec<_>>(),
            all.map(|exit| (exit as u8).to_string()),
            "in the order of their numbers"
        );
    }

    #[test]
    fn the_readme_lists_every_code() {
        let readme = include_str!("../../README.md");
        for line in HELP.lines().skip(1) {
            let (code, meaning) = line.trim().split_once("  ").unwrap();
            let row = format!("| {code} | {meaning} |");
            assert!(readme.contains(&row), "{row}");
        }
    }
}
