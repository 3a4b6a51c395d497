//! Asking the server whether a transaction is still open.

use crate::{Dialect, DriverError};

/// How to learn whether a connection is in a transaction.
///
/// A client only knows what it has begun. MySQL and MariaDB roll a transaction back by themselves
/// after a deadlock and commit one before data definition; SQLite rolls back after a full disk, an
/// error of input or output or `ON CONFLICT ROLLBACK`. Whoever goes on after such an error writes
/// outside of any transaction, and an event would be stored though the change that it tells of is
/// gone. With `autocommit = 0` MySQL and MariaDB always say that one is open. On PostgreSQL a
/// transaction that has failed refuses the probe as it refuses every statement, but not the commit,
/// which it answers by rolling back.
#[derive(Debug, Clone, Copy)]
pub struct Probe {
    /// What to run, which may be several statements.
    pub text: &'static str,
    /// Where the probe itself doesn't fail outside of a transaction: a statement that does.
    pub(crate) fails_outside: Option<&'static str>,
    inside: Option<&'static str>,
    outside: Option<&'static str>,
}

const SAVEPOINT: Probe = Probe {
    text: "SAVEPOINT outbox_transaction_probe; RELEASE SAVEPOINT outbox_transaction_probe",
    fails_outside: None,
    inside: None,
    outside: None,
};

impl Probe {
    /// The probe for a database. It leaves nothing behind, as it ends what it begins in the same
    /// text.
    pub fn of(dialect: Dialect) -> Self {
        match dialect {
            // Outside of a transaction there are no savepoints (25P01).
            Dialect::Postgres => Self { outside: Some("25P01"), ..SAVEPOINT },
            // Outside of a transaction a savepoint ends with its statement (1305: there is none).
            Dialect::MySql => Self { outside: Some("1305"), ..SAVEPOINT },
            // Within a transaction none can begin, which harms the one that there is in no way; and
            // as the first statement fails, the second doesn't run.
            Dialect::Sqlite => Self {
                text: "BEGIN; ROLLBACK",
                fails_outside: Some("ROLLBACK"),
                inside: Some("1"),
                outside: None,
            },
        }
    }

    /// The probe for PostgreSQL that also makes the transaction one that writes.
    pub(crate) fn writing() -> Self {
        Self {
            text: "SAVEPOINT outbox_transaction_probe; \
                   RELEASE SAVEPOINT outbox_transaction_probe; SELECT pg_current_xact_id()",
            ..Self::of(Dialect::Postgres)
        }
    }

    /// What the answer to [`text`](Self::text) says: whether a transaction is open.
    pub fn is_open(&self, answer: Result<(), DriverError>) -> Result<bool, DriverError> {
        let code = match &answer {
            Ok(()) => None,
            Err(error) => error.code(),
        };
        if answer.is_ok() || code.is_some() {
            if code == self.inside {
                return Ok(true);
            }
            if code == self.outside {
                return Ok(false);
            }
        }
        answer.map(|()| true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_was_not_expected_is_an_error() {
        for (dialect, probe, inside, outside) in [
            (Dialect::Postgres, Probe::of(Dialect::Postgres), None, Some("25P01")),
            (Dialect::MySql, Probe::of(Dialect::MySql), None, Some("1305")),
            (Dialect::Sqlite, Probe::of(Dialect::Sqlite), Some("1"), None),
            (Dialect::Postgres, Probe::writing(), None, Some("25P01")),
        ] {
            let answer = |code: Option<&str>| match code {
                None => Ok(()),
                Some(code) => Err(DriverError::database(dialect, code, "it says so")),
            };
            assert!(probe.is_open(answer(inside)).unwrap());
            assert!(!probe.is_open(answer(outside)).unwrap());
            assert!(probe.is_open(answer(Some("10"))).is_err());
            assert!(probe.is_open(Err(DriverError::connection("it broke"))).is_err());
        }
    }
}
