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
}

pub(crate) fn of(reply: Result<Value, RedisError>) -> Reply {
    match reply {
        // Only where streams aren't created.
        Ok(Value::Nil) => {
            let says = "there is no such stream: create it, or set `create_stream`";
            Reply { outcome: Outcome::Rejected(says.into()), usable: true }
        }
        Ok(_) => Reply { outcome: Outcome::Delivered, usable: true },
        Err(error) => failure(&error),
    }
}

/// Without a code it isn't the server's: the connection is lost, or talks nonsense.
fn failure(error: &RedisError) -> Reply {
    let Some(code) = error.code() else {
        return Reply { outcome: Outcome::Unknown, usable: false };
    };
    let reason = Reason::new(format!("Redis refuses the message: {}", said(error)));
    let (outcome, usable) = match code {
        "WRONGTYPE" => (Outcome::Rejected(reason), true),
        "OOM" | "NOPERM" | "NOREPLICAS" | "MISCONF" | "BUSY" => {
            (Outcome::Unavailable(reason), true)
        }
        // Another server would take it, or this one another time, or another account.
        "LOADING" | "READONLY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN" | "MOVED" | "ASK"
        | "NOAUTH" | "WRONGPASS" | "UNBLOCKED" => (Outcome::Unavailable(reason), false),
        _ if said(error).contains("too large to be stored") => (Outcome::Rejected(reason), true),
        // So it calls a command of that many words from one that must log in first.
        _ if said(error).contains("unauthenticated") => (Outcome::Unavailable(reason), false),
        // It closes the connection, too.
        _ if said(error).contains("Protocol error") => (Outcome::Failed(reason), false),
        _ => (Outcome::Failed(reason), true),
    };
    Reply { outcome, usable }
}

fn said(error: &RedisError) -> String {
    let code = error.code().unwrap_or_default();
    format!("{code} {}", error.detail().unwrap_or_default())
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
            ("-MOVED 3999 127.0.0.1:6381", "Unavailable", false),
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
        let lost = std::io::Error::from(std::io::ErrorKind::BrokenPipe);
        let reply = of(Err(lost.into()));
        assert_eq!((reply.outcome, reply.usable), (Outcome::Unknown, false));
    }
}
