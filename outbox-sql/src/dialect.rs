//! What differs between the databases, in words of SQL.

use crate::DriverErrorKind;

/// A family of databases that understand the same SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dialect {
    /// PostgreSQL 14 and later.
    Postgres,
    /// MySQL 8.0.16 and MariaDB 10.6 and later.
    MySql,
    /// SQLite 3.37 and later.
    Sqlite,
}

impl Dialect {
    /// Its name, for messages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Postgres => "PostgreSQL",
            Self::MySql => "MySQL",
            Self::Sqlite => "SQLite",
        }
    }

    /// Sorts an error by its code: an SQLSTATE of PostgreSQL, an error number of MySQL, an
    /// (extended) result code of SQLite.
    pub fn classify(self, code: &str) -> DriverErrorKind {
        match self {
            Self::Postgres => classify_postgres(code),
            Self::MySql => classify_mysql(code),
            Self::Sqlite => classify_sqlite(code),
        }
    }

    /// Whether what the database says with this code never quotes a value. With any other code it
    /// may: data exceptions do, and a trigger says what it likes, with a code of its own choice.
    pub(crate) fn quotes_no_value(self, code: &str) -> bool {
        match self {
            Self::Postgres => {
                PLAIN_IN_POSTGRES.contains(&code.get(..2).unwrap_or_default()) && code.len() == 5
            }
            Self::MySql => PLAIN_IN_MYSQL.contains(&code),
            // What a trigger raises.
            Self::Sqlite => code != "1811",
        }
    }

    /// The moment at which the expression is evaluated. Never that of the transaction's start:
    /// after waiting for a lock it would be in the past.
    pub(crate) fn now(self) -> &'static str {
        match self {
            Self::Postgres => "clock_timestamp()",
            Self::MySql => "UTC_TIMESTAMP(6)",
            // Milliseconds are what SQLite's clock gives.
            Self::Sqlite => {
                "(CAST(round((julianday('now') - 2440587.5) * 86400000) AS INTEGER) * 1000)"
            }
        }
    }

    /// The moment `micros` (an expression) from now.
    pub(crate) fn after(self, micros: &str) -> String {
        let now = self.now();
        match self {
            Self::Postgres => format!("{now} + {micros} * interval '1 microsecond'"),
            Self::MySql => format!("TIMESTAMPADD(MICROSECOND, {micros}, {now})"),
            Self::Sqlite => format!("{now} + {micros}"),
        }
    }

    /// The moment `micros` from now, to compare a column with that has an index. PostgreSQL's clock
    /// changes within a statement: only a subquery has one value, for which the index can be asked.
    pub(crate) fn constant_after(self, micros: &str) -> String {
        let after = self.after(micros);
        match self {
            Self::Postgres => format!("(SELECT {after})"),
            Self::MySql | Self::Sqlite => after,
        }
    }

    /// Microseconds from now until `moment` (a column), negative if it has passed.
    pub(crate) fn until(self, moment: &str) -> String {
        let now = self.now();
        match self {
            Self::Postgres => {
                format!("(extract(epoch FROM {moment} - {now}) * 1000000)::bigint")
            }
            Self::MySql => format!("TIMESTAMPDIFF(MICROSECOND, {now}, {moment})"),
            Self::Sqlite => format!("({moment} - {now})"),
        }
    }

    /// The moment that many microseconds (an expression) after the epoch.
    pub(crate) fn since_epoch(self, micros: &str) -> String {
        match self {
            Self::Postgres => format!("timestamptz 'epoch' + {micros} * interval '1 microsecond'"),
            Self::MySql => {
                format!("TIMESTAMPADD(MICROSECOND, {micros}, TIMESTAMP'1970-01-01 00:00:00')")
            }
            Self::Sqlite => micros.to_owned(),
        }
    }

    /// Microseconds from the epoch to `moment` (a column).
    pub(crate) fn epoch(self, moment: &str) -> String {
        match self {
            Self::Postgres => format!("(extract(epoch FROM {moment}) * 1000000)::bigint"),
            Self::MySql => {
                format!("TIMESTAMPDIFF(MICROSECOND, TIMESTAMP'1970-01-01 00:00:00', {moment})")
            }
            Self::Sqlite => moment.to_owned(),
        }
    }

    /// `expression` as a 64-bit integer.
    pub(crate) fn int(self, expression: &str) -> String {
        match self {
            Self::Postgres => format!("({expression})::bigint"),
            Self::MySql => format!("CAST({expression} AS SIGNED)"),
            Self::Sqlite => expression.to_owned(),
        }
    }

    /// Ends a query so that what it finds can't be changed by others, nor locked, until the
    /// transaction ends. SQLite has one writer.
    pub(crate) fn for_update(self) -> &'static str {
        match self {
            Self::Postgres | Self::MySql => " FOR UPDATE",
            Self::Sqlite => "",
        }
    }

    /// The same, but others may lock it so, too. MariaDB doesn't know `FOR SHARE`.
    pub(crate) fn for_share(self) -> &'static str {
        match self {
            Self::Postgres => " FOR SHARE",
            Self::MySql => " LOCK IN SHARE MODE",
            Self::Sqlite => "",
        }
    }

    /// Whether a lease row is live: `now < expires_at <= now + 2 ttl`. The upper bound keeps a clock
    /// that was set back from keeping the dead alive; a step of less than one `ttl`, as a clock is
    /// corrected, must not end the leases of the living.
    pub(crate) fn is_live(self) -> String {
        let left = self.until("expires_at");
        format!("CASE WHEN {left} > 0 AND {left} <= 2 * ttl THEN 1 ELSE 0 END")
    }
}

/// Classes of SQLSTATE: connections, features, states of transactions, rights, names, conflicts,
/// syntax, resources, operators, the system.
const PLAIN_IN_POSTGRES: [&str; 17] = [
    "08", "0A", "25", "26", "28", "2B", "2D", "3B", "3D", "3F", "40", "42", "53", "54", "55", "57",
    "58",
];

/// Connections and rights, names, syntax, conflicts, resources, read-only servers.
const PLAIN_IN_MYSQL: [&str; 48] = [
    "1007", "1008", "1020", "1021", "1030", "1040", "1044", "1045", "1046", "1049", "1050", "1051",
    "1053", "1054", "1059", "1064", "1072", "1094", "1095", "1104", "1114", "1118", "1130", "1142",
    "1143", "1146", "1153", "1192", "1203", "1205", "1213", "1223", "1226", "1227", "1242", "1290",
    "1305", "1317", "1364", "1370", "1406", "1461", "1792", "1836", "1927", "1969", "3024", "4031",
];

fn classify_postgres(code: &str) -> DriverErrorKind {
    match code {
        // Serialization failure, deadlock, lock not available.
        "40001" | "40P01" | "55P03" => DriverErrorKind::Conflict,
        // Shut down by an operator, a crash, or not yet up; too many connections.
        "57P01" | "57P02" | "57P03" | "57P05" | "53300" | "25P03" | "25P04"
        // The server has become a standby; a new connection may find the new primary.
        | "25006" => DriverErrorKind::Connection,
        code if code.starts_with("08") => DriverErrorKind::Connection,
        _ => DriverErrorKind::Other,
    }
}

fn classify_mysql(code: &str) -> DriverErrorKind {
    match code {
        // Deadlock, lock wait time-out; MariaDB: the row changed since it was read.
        "1213" | "1205" | "1020" => DriverErrorKind::Conflict,
        // Too many connections, shutting down, killed, gone away, lost.
        "1040" | "1053" | "1927" | "2006" | "2013" | "4031"
        // The server has become a replica.
        | "1290" | "1836" => DriverErrorKind::Connection,
        _ => DriverErrorKind::Other,
    }
}

fn classify_sqlite(code: &str) -> DriverErrorKind {
    const BUSY: i32 = 5;
    const LOCKED: i32 = 6;
    // The disk, not the statement: an error of input or output, no room, a file that can't be opened.
    const IOERR: i32 = 10;
    const FULL: i32 = 13;
    const CANTOPEN: i32 = 14;
    // The primary result code is in the lowest byte: BUSY_SNAPSHOT is 517, BUSY_RECOVERY 261.
    match code.parse::<i32>().map(|code| code & 0xff) {
        Ok(BUSY | LOCKED) => DriverErrorKind::Conflict,
        Ok(IOERR | FULL | CANTOPEN) => DriverErrorKind::Connection,
        _ => DriverErrorKind::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use DriverErrorKind::{Conflict, Connection, Other};

    #[test]
    fn what_a_trigger_may_say_is_not_plain() {
        for (dialect, plain, others) in [
            (Dialect::Postgres, ["42501", "40P01"], ["22P02", "P0001", "OB001"]),
            (Dialect::MySql, ["1142", "1213"], ["1366", "1644", "30001"]),
        ] {
            assert!(plain.iter().all(|code| dialect.quotes_no_value(code)), "{dialect:?}");
            assert!(!others.iter().any(|code| dialect.quotes_no_value(code)), "{dialect:?}");
        }
        assert!(!Dialect::Sqlite.quotes_no_value("1811"));
    }

    #[test]
    fn conflicts_are_known_by_code() {
        let codes = [
            (Dialect::Postgres, "40001", Conflict),
            (Dialect::Postgres, "40P01", Conflict),
            (Dialect::Postgres, "55P03", Conflict),
            (Dialect::Postgres, "57P01", Connection),
            (Dialect::Postgres, "08006", Connection),
            (Dialect::Postgres, "23505", Other),
            (Dialect::MySql, "1213", Conflict),
            (Dialect::MySql, "1205", Conflict),
            (Dialect::MySql, "1062", Other),
            (Dialect::Sqlite, "5", Conflict),
            (Dialect::Sqlite, "261", Conflict),
            (Dialect::Sqlite, "517", Conflict),
            (Dialect::Sqlite, "773", Conflict),
            (Dialect::Sqlite, "13", Connection),
            (Dialect::Sqlite, "778", Connection),
            (Dialect::Sqlite, "1", Other),
            (Dialect::Sqlite, "not a number", Other),
        ];
        for (dialect, code, kind) in codes {
            assert_eq!(dialect.classify(code), kind, "{dialect:?} {code}");
        }
    }
}
