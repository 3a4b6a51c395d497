//! What an answer of the client means for a message.

use lapin::{Error, ErrorKind};
use outbox_core::{Outcome, Reason};

const ACCESS_REFUSED: u16 = 403;
const NOT_FOUND: u16 = 404;
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
        Some((ACCESS_REFUSED, text)) => Outcome::Failed(Reason::new(text)),
        Some((NOT_FOUND | PRECONDITION_FAILED, text)) if alone => {
            Outcome::Rejected(Reason::new(text))
        }
        _ => Outcome::Unknown,
    }
}

/// The broker answers a question about an exchange or a queue by closing the channel.
pub(crate) fn is_missing(error: &Error) -> bool {
    closed_channel(error).is_some_and(|(code, _)| code == NOT_FOUND)
}

/// A queue can't be declared: the broker's refusal concerns its messages, all else the broker.
pub(crate) fn undeclared(error: &Error) -> Outcome {
    match closed_channel(error) {
        Some((_, text)) => Outcome::Failed(Reason::new(text)),
        None => Outcome::Unavailable(Reason::of(error)),
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

    fn says(code: u16) -> Error {
        let error = AMQPError::from_id(code, "says so".into()).unwrap();
        ErrorKind::ProtocolError(error).into()
    }

    fn lost() -> Error {
        std::io::Error::from(std::io::ErrorKind::ConnectionReset).into()
    }

    #[test]
    fn a_closed_channel_is_the_fault_of_a_message_that_is_alone() {
        let rejected = Outcome::Rejected("says so".into());
        let failed = Outcome::Failed("says so".into());
        for (code, alone, outcome) in [
            (404, true, rejected.clone()),
            (406, true, rejected),
            (404, false, Outcome::Unknown),
            (406, false, Outcome::Unknown),
            (403, true, failed.clone()),
            (403, false, failed),
            (405, true, Outcome::Unknown),
            // These close the connection.
            (320, true, Outcome::Unknown),
            (501, true, Outcome::Unknown),
        ] {
            assert_eq!(unanswered(&says(code), alone), outcome, "{code} {alone}");
        }
        assert_eq!(unanswered(&lost(), true), Outcome::Unknown);
    }

    #[test]
    fn what_was_not_sent_is_unavailable() {
        for error in [lost(), says(404), says(320)] {
            assert!(matches!(unsent(&error), Outcome::Unavailable(_)));
        }
    }

    #[test]
    fn refusals_are_told_from_losses() {
        assert!(is_missing(&says(404)) && !is_missing(&says(406)) && !is_missing(&lost()));
        assert!(matches!(undeclared(&says(403)), Outcome::Failed(_)));
        assert!(matches!(undeclared(&lost()), Outcome::Unavailable(_)));
        assert_eq!(refusal(&says(530)).as_deref(), Some("says so"));
        assert_eq!((refusal(&says(320)), refusal(&lost())), (None, None));
    }
}
