//! What an answer of the client means for a message.

use lapin::{Error, ErrorKind};
use outbox_core::{Outcome, Reason};

const CONTENT_TOO_LARGE: u16 = 311;
const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
const RESOURCE_LOCKED: u16 = 405;
const PRECONDITION_FAILED: u16 = 406;
const NOT_ALLOWED: u16 = 530;

/// The client couldn't write all of the message, so that the broker can't have taken it.
pub(crate) fn unsent(error: &Error) -> Outcome {
    Outcome::Unavailable(Reason::of(error))
}

/// It was written, but no confirmation can come any more. `alone` says that no other message of
/// its channel was without an answer: if the broker has closed the channel, it was for this one.
pub(crate) fn unanswered(error: &Error, alone: bool) -> Outcome {
    match closed_channel(error) {
        // All messages of a channel go to one exchange.
        Some((ACCESS_REFUSED, text)) if alone || is_of_exchange(text) => {
            Outcome::Failed(Reason::new(text))
        }
        Some((CONTENT_TOO_LARGE | PRECONDITION_FAILED, text)) if alone => {
            Outcome::Rejected(Reason::new(text))
        }
        Some((NOT_FOUND, text)) if alone && is_missing(error) => {
            Outcome::Rejected(Reason::new(text))
        }
        _ => Outcome::Unknown,
    }
}

/// Older brokers say "access to exchange", newer ones "write access to exchange"; a user who may not
/// write to some topics hears of "access to topic", and that was one message of several.
fn is_of_exchange(text: &str) -> bool {
    text.split_once("access to ").is_some_and(|(_, what)| what.starts_with("exchange "))
}

/// The broker answers a question about an exchange or a queue by closing the channel. With the
/// same code it says that a queue is there, but on a node that is down.
pub(crate) fn is_missing(error: &Error) -> bool {
    closed_channel(error).is_some_and(|(code, text)| {
        let what = text.strip_prefix("NOT_FOUND - no ").unwrap_or_default();
        code == NOT_FOUND && (what.starts_with("queue '") || what.starts_with("exchange '"))
    })
}

/// A queue can't be declared: some refusals concern its messages, all else the broker.
pub(crate) fn undeclared(error: &Error) -> Outcome {
    match closed_channel(error) {
        Some((code, text)) if ![NOT_FOUND, RESOURCE_LOCKED].contains(&code) => {
            Outcome::Failed(Reason::new(text))
        }
        _ => Outcome::Unavailable(Reason::of(error)),
    }
}

/// What the broker says when it doesn't let us in.
pub(crate) fn refusal(error: &Error) -> Option<String> {
    let ErrorKind::ProtocolError(error) = error.kind() else { return None };
    let refused = [ACCESS_REFUSED, NOT_FOUND, NOT_ALLOWED].contains(&error.get_id());
    refused.then(|| error.get_message().to_string())
}

fn closed_channel(error: &Error) -> Option<(u16, &str)> {
    match error.kind() {
        ErrorKind::ProtocolError(says) if error.is_amqp_soft_error() => {
            Some((says.get_id(), says.get_message().as_str()))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use lapin::protocol::AMQPError;

    use super::*;

    const NO_EXCHANGE: &str = "NOT_FOUND - no exchange 'e' in vhost '/'";
    const NO_QUEUE: &str = "NOT_FOUND - no queue 'q' in vhost '/'";
    /// As RabbitMQ 3.10 says it.
    const NODE_DOWN: &str = "NOT_FOUND - home node 'b@localhost' of durable queue 'no queue 'q'' \
                             in vhost '/' is down or inaccessible";
    const NO_WRITING: &str = "ACCESS_REFUSED - access to exchange 'e' in vhost '/' refused";
    const NO_WRITING_NEWER: &str = "ACCESS_REFUSED - write access to exchange 'e' in vhost '/'";
    const NO_TOPIC: &str = "ACCESS_REFUSED - access to topic 'access to exchange' in exchange 'e'";

    fn says(code: u16, text: &str) -> Error {
        ErrorKind::ProtocolError(AMQPError::from_id(code, text.into()).unwrap()).into()
    }

    fn lost() -> Error {
        std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
    }

    #[test]
    fn a_closed_channel_is_the_fault_of_a_message_that_is_alone() {
        let rejected = |text: &str| Outcome::Rejected(text.into());
        let failed = |text: &str| Outcome::Failed(text.into());
        for (code, text, alone, beside) in [
            (404, NO_EXCHANGE, rejected(NO_EXCHANGE), Outcome::Unknown),
            (404, NODE_DOWN, Outcome::Unknown, Outcome::Unknown),
            (406, "too large", rejected("too large"), Outcome::Unknown),
            (311, "too large", rejected("too large"), Outcome::Unknown),
            (403, NO_WRITING, failed(NO_WRITING), failed(NO_WRITING)),
            (403, NO_WRITING_NEWER, failed(NO_WRITING_NEWER), failed(NO_WRITING_NEWER)),
            (403, NO_TOPIC, failed(NO_TOPIC), Outcome::Unknown),
            (405, "locked", Outcome::Unknown, Outcome::Unknown),
            // These close the connection.
            (320, "closed", Outcome::Unknown, Outcome::Unknown),
            (501, "frame", Outcome::Unknown, Outcome::Unknown),
        ] {
            assert_eq!(unanswered(&says(code, text), true), alone, "{text}");
            assert_eq!(unanswered(&says(code, text), false), beside, "{text}");
        }
        assert_eq!(unanswered(&lost(), true), Outcome::Unknown);
    }

    #[test]
    fn what_was_not_sent_is_unavailable() {
        for error in [lost(), says(404, NO_QUEUE), says(320, "closed")] {
            assert!(matches!(unsent(&error), Outcome::Unavailable(_)));
        }
    }

    #[test]
    fn what_is_missing_is_told_from_what_is_out_of_reach() {
        assert!(is_missing(&says(404, NO_QUEUE)) && is_missing(&says(404, NO_EXCHANGE)));
        for error in [says(404, NODE_DOWN), says(406, NO_QUEUE), lost()] {
            assert!(!is_missing(&error), "{error}");
        }
        for error in [says(404, NODE_DOWN), says(405, "locked"), lost(), says(320, "closed")] {
            assert!(matches!(undeclared(&error), Outcome::Unavailable(_)), "{error}");
        }
        for code in [403, 406] {
            assert_eq!(undeclared(&says(code, "no")), Outcome::Failed("no".into()));
        }
    }

    #[test]
    fn refusals_are_told_from_losses() {
        assert_eq!(refusal(&says(530, "says so")).as_deref(), Some("says so"));
        assert_eq!((refusal(&says(320, "closed")), refusal(&lost())), (None, None));
    }
}
