//! What a reply means for a message.

use outbox_core::{Outcome, Reason};
use redis::{RedisError, Value};

/// What a reply to `XADD` says.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) outcome: Outcome,
    /// Whether the connection can be used again: that it is there, and leads to a server that
    /// takes writes.
    pub(crate) usable: bool,
    pub(crate) redirection: Option<Redirection>,
}

/// The message belongs to another node of the cluster, and this one hasn't taken it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Redirection {
    /// Host and port; the host may be missing.
    pub(crate) node: String,
    /// Whether the other one must be told that it was sent there, as it doesn't serve the slot yet.
    pub(crate) asking: bool,
}

pub(crate) fn of(reply: Result<Value, RedisError>) -> Reply {
    match reply {
        // Only where streams aren't created.
        Ok(Value::Nil) => {
            let says = "there is no such stream: create it, or set `create_stream`";
            Reply::usable(Outcome::Rejected(says.into()))
        }
        Ok(_) => Reply::usable(Outcome::Delivered),
        Err(error) => failure(&error),
    }
}

impl Reply {
    fn usable(outcome: Outcome) -> Self {
        Self { outcome, usable: true, redirection: None }
    }

    fn unusable(outcome: Outcome) -> Self {
        Self { outcome, usable: false, redirection: None }
    }
}

/// Without a code it isn't the server's: the connection is lost, or talks nonsense.
fn failure(error: &RedisError) -> Reply {
    let Some(code) = error.code() else { return Reply::unusable(Outcome::Unknown) };
    let says = said(error);
    let reason = Reason::new(format!("Redis refuses the message: {says}"));
    match code {
        "WRONGTYPE" => Reply::usable(Outcome::Rejected(reason)),
        "MOVED" | "ASK" => {
            let node = error.redirect_node().map(|(node, _)| node.to_owned());
            let redirection = node.map(|node| Redirection { node, asking: code == "ASK" });
            Reply { redirection, ..Reply::usable(Outcome::Unavailable(reason)) }
        }
        // Another server would take it, or this one another time, or another account.
        "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "NOAUTH"
        | "WRONGPASS" | "UNBLOCKED" => Reply::unusable(Outcome::Unavailable(reason)),
        _ if says.contains("too large to be stored") => Reply::usable(Outcome::Rejected(reason)),
        _ if says.contains("exhausted the last possible ID") => {
            Reply::usable(Outcome::Failed(reason))
        }
        // So it calls a command of that many words from one that must log in first.
        _ if says.contains("unauthenticated") => Reply::unusable(Outcome::Unavailable(reason)),
        // It closes the connection, too.
        _ if says.contains("Protocol error") => Reply::unusable(Outcome::Failed(reason)),
        // `OOM`, `NOPERM`, `NOREPLICAS`, `MISCONF`, `BUSY`, or nothing we know of: a message isn't
        // blamed before it fails alone, which the relay finds out.
        _ => Reply::usable(Outcome::Unavailable(reason)),
    }
}

/// Without what of the message it quotes.
fn said(error: &RedisError) -> String {
    let code = error.code().unwrap_or_default();
    let detail = error.detail().unwrap_or_default();
    let detail = detail.split(", with args beginning with").next().unwrap_or_default();
    format!("{code} {detail}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_has_its_meaning() {
        for (line, outcome, usable) in [
            ("-WRONGTYPE Operation against a key holding the wrong kind", "Rejected", true),
            ("-ERR Elements are too large to be stored", "Rejected", true),
            ("-OOM command not allowed when used memory > 'maxmemory'.", "Unavailable", true),
            ("-NOPERM User u has no permissions to run 'xadd'", "Unavailable", true),
            ("-NOREPLICAS Not enough good replicas to write.", "Unavailable", true),
            ("-MISCONF Redis is configured to save RDB snapshots", "Unavailable", true),
            ("-LOADING Redis is loading the dataset in memory", "Unavailable", false),
            ("-READONLY You can't write against a read only replica.", "Unavailable", false),
            ("-MASTERDOWN Link with MASTER is down", "Unavailable", false),
            ("-CLUSTERDOWN Hash slot not served", "Unavailable", false),
            ("-MOVED 3999 127.0.0.1:6381", "Unavailable", true),
            ("-ERR unknown command 'XADD', with args beginning with:", "Unavailable", true),
            ("-WHATEVER", "Unavailable", true),
            ("-NOAUTH Authentication required.", "Unavailable", false),
            ("-ERR Protocol error: unauthenticated multibulk length", "Unavailable", false),
            ("-ERR Protocol error: invalid bulk length", "Failed", false),
            ("-ERR The stream has exhausted the last possible ID", "Failed", true),
            ("+OK", "Delivered", true),
            ("$-1", "Rejected", true),
        ] {
            let value = redis::parse_redis_value(format!("{line}\r\n").as_bytes());
            let reply = of(value.and_then(Value::extract_error));
            assert!(format!("{:?}", reply.outcome).starts_with(outcome), "{line}: {reply:?}");
            assert_eq!(reply.usable, usable, "{line}");
        }
        let quoting = b"-ERR unknown command 'XADD', with args beginning with: 'canary'\r\n";
        let reply = of(redis::parse_redis_value(quoting).and_then(Value::extract_error));
        assert!(!format!("{reply:?}").contains("canary"), "{reply:?}");
        let lost = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let reply = of(Err(lost.into()));
        assert_eq!((reply.outcome, reply.usable), (Outcome::Unknown, false));
    }

    #[test]
    fn redirections_are_known() {
        for (line, node, asking) in [
            ("-MOVED 3999 127.0.0.1:6381", "127.0.0.1:6381", false),
            ("-ASK 3999 :6381", ":6381", true),
        ] {
            let value = redis::parse_redis_value(format!("{line}\r\n").as_bytes());
            let reply = of(value.and_then(Value::extract_error));
            let node = node.to_owned();
            assert_eq!(reply.redirection, Some(Redirection { node, asking }), "{line}");
        }
    }
}
