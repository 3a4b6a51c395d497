//! What differs between Diesel's databases.

use diesel::backend::DieselReserveSpecialization;
use diesel::deserialize;
use diesel::query_builder::AstPass;
use diesel::result::{DatabaseErrorKind, QueryResult};
use outbox_sql::{Dialect, Type, Value};

use crate::query::Bind;

/// A backend of Diesel's that can hold an outbox: `Pg`, `Mysql` or `Sqlite`.
pub trait Database: backend::Backend {}

pub(crate) mod backend {
    use super::{
        AstPass, Bind, DatabaseErrorKind, Dialect, DieselReserveSpecialization, QueryResult, Type,
        Value, deserialize,
    };

    /// The hidden part of [`Database`](super::Database).
    pub trait Backend: diesel::backend::Backend + DieselReserveSpecialization + 'static {
        const DIALECT: Dialect;

        /// How a transaction begins that will write, if not as Diesel begins one.
        const BEGIN: Option<&'static str>;

        /// Where a connection waits for no other writer unless told to: the setting that says for
        /// how many milliseconds it does.
        const BUSY_TIMEOUT: Option<&'static str>;

        /// The server keeps the code of its last error, and can be asked for it.
        const KEEPS_CODES: bool;

        /// Binds a value to a placeholder that is in the text already.
        fn bind<'b>(pass: &mut AstPass<'_, 'b, Self>, bind: &'b Bind<'_>) -> QueryResult<()>;

        /// Makes a value of what came back.
        fn get(
            raw: Self::RawValue<'_>,
            kind: Type,
            above: Option<&Value>,
        ) -> deserialize::Result<Value>;

        /// The database's own code for an error. Diesel keeps it to itself, so it is concluded
        /// from the kind and from how the message is worded; none if neither is known.
        fn code(kind: DatabaseErrorKind, message: &str) -> Option<&'static str>;
    }
}

/// A message's beginning and end, and the code that the database gave with it.
#[cfg(any(feature = "postgres_backend", feature = "mysql_backend", feature = "sync-sqlite"))]
pub(crate) type Wording = (&'static str, &'static str, &'static str);

#[cfg(any(feature = "postgres_backend", feature = "mysql_backend", feature = "sync-sqlite"))]
pub(crate) fn code_of(message: &str, wordings: &[Wording]) -> Option<&'static str> {
    let known = |(start, end, _): &&Wording| message.starts_with(start) && message.ends_with(end);
    wordings.iter().find(known).map(|(.., code)| *code)
}
