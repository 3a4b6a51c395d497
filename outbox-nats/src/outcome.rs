//! What an answer of the server means for a message.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use async_nats::StatusCode;
use async_nats::jetstream::{Error, ErrorCode, publish::PublishAck, response::Response};
use outbox_core::{Outcome, Reason};
use tokio::sync::broadcast::{Receiver, error::RecvError};

/// What an answer says.
#[derive(Debug, PartialEq)]
pub(crate) enum Answer {
    Outcome(Outcome),
    /// The fence let it not pass.
    Barred(Bar, Reason),
    /// Nobody took the message. Whether there is no stream or its leader is just being elected
    /// must be asked.
    NoResponders,
}

/// Why the server found another last message of a subject than the one that it was to expect.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bar {
    /// There is another.
    Other,
    /// There may soon be another: a stream with replicas has something under way for that subject.
    Busy,
}

pub(crate) fn bar(code: ErrorCode) -> Option<Bar> {
    match code {
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE => Some(Bar::Other),
        ErrorCode::STREAM_WRONG_LAST_SEQUENCE_CONSTANT => Some(Bar::Busy),
        _ => None,
    }
}

/// `None` if JetStream didn't write that answer: somebody else listens to the subject, too.
pub(crate) fn of(reply: &async_nats::Message) -> Option<Answer> {
    if reply.status == Some(StatusCode::NO_RESPONDERS) {
        return Some(Answer::NoResponders);
    }
    match serde_json::from_slice(&reply.payload).ok()? {
        // A duplicate is acknowledged like any other: the stream has it.
        Response::Ok(PublishAck { .. }) => Some(Answer::Outcome(Outcome::Delivered)),
        Response::Err { error } => {
            let reason = Reason::new(format!("JetStream refuses the message: {error}"));
            Some(match bar(error.error_code()) {
                Some(bar) => Answer::Barred(bar, reason),
                None => Answer::Outcome(refused(&error, reason)),
            })
        }
    }
}

/// When to try again what came too fast; the server doesn't say.
const PAUSE: Duration = Duration::from_millis(250);

/// An earlier copy of this message is being stored just now.
const DUPLICATE_IN_PROCESS: ErrorCode = ErrorCode(10_158);

pub(crate) fn refused(error: &Error, reason: Reason) -> Outcome {
    match error.error_code() {
        ErrorCode::STREAM_MESSAGE_EXCEEDS_MAXIMUM
        | ErrorCode::STREAM_HEADER_EXCEEDS_MAXIMUM
        | ErrorCode::STREAM_SEALED => Outcome::Rejected(reason),
        // The limit of one subject, though the stream has room for others.
        ErrorCode::STREAM_STORE_FAILED if error.to_string().contains("per subject") => {
            Outcome::Failed(reason)
        }
        DUPLICATE_IN_PROCESS => Outcome::Unknown,
        _ if error.code() == 429 => Outcome::Throttled(PAUSE),
        // Full or out of memory, without a leader, JetStream is off, or nothing we know of: a
        // message isn't blamed before it fails alone, which the relay finds out.
        _ => Outcome::Unavailable(reason),
    }
}

/// What the server doesn't let us do. It says so of no message in particular.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Denial {
    /// To this subject.
    Publish(Arc<str>),
    /// To this subject, in which there may be wildcards.
    Subscribe(Arc<str>),
}

/// What an error of the server's says that it doesn't let us do.
pub(crate) fn denial(error: &str) -> Option<Denial> {
    let (_, what) = error.split_once("Permissions Violation for ")?;
    let (what, rest) = what.split_once(" to \"")?;
    let (subject, _) = rest.split_once('"')?;
    match what {
        "Publish" => Some(Denial::Publish(subject.into())),
        "Subscription" => Some(Denial::Subscribe(subject.into())),
        _ => None,
    }
}

/// Returns when the server has said that we may not publish to the subject. That nothing is said any
/// more, or more than could be kept in mind, is no denial.
pub(crate) async fn denied(mut denials: Receiver<Denial>, subject: &str) {
    loop {
        match denials.recv().await {
            Ok(Denial::Publish(denied)) if *denied == *subject => return,
            Err(RecvError::Closed) => return pending().await,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;
    use tokio::sync::broadcast;

    use super::*;

    #[test]
    fn only_a_denial_denies() {
        let publish = |subject: &str| Denial::Publish(subject.into());
        for (last, is_denied) in
            [(publish("a"), true), (publish("b"), false), (Denial::Subscribe("a".into()), false)]
        {
            let (told, denials) = broadcast::channel(1);
            // The first is too much to be kept in mind.
            for denial in [publish("b"), last] {
                told.send(denial).unwrap();
            }
            drop(told);
            assert_eq!(denied(denials, "a").now_or_never().is_some(), is_denied);
        }
    }

    fn reply(status: Option<StatusCode>, payload: &str) -> async_nats::Message {
        async_nats::Message {
            subject: "_INBOX.x".into(),
            reply: None,
            payload: payload.to_owned().into(),
            headers: None,
            status,
            description: None,
            length: 0,
        }
    }

    #[test]
    fn acknowledgements_deliver_and_strangers_say_nothing() {
        let delivered = Some(Answer::Outcome(Outcome::Delivered));
        assert_eq!(of(&reply(None, r#"{"stream":"S","seq":1}"#)), delivered);
        assert_eq!(of(&reply(None, r#"{"stream":"S","seq":1,"duplicate":true}"#)), delivered);
        let nobody = reply(Some(StatusCode::NO_RESPONDERS), "");
        assert_eq!(of(&nobody), Some(Answer::NoResponders));
        for stranger in ["", "thank you", "{}", r#"{"seq":"one"}"#] {
            assert_eq!(of(&reply(None, stranger)), None, "{stranger}");
        }
    }

    #[test]
    fn each_error_has_its_meaning() {
        for (code, err_code, description, outcome) in [
            (400, 10_054, "message size exceeds maximum allowed", "Rejected"),
            (400, 10_097, "header size exceeds maximum allowed of 64k", "Rejected"),
            (400, 10_109, "invalid operation on sealed stream", "Rejected"),
            (503, 10_077, "maximum messages per subject exceeded", "Failed"),
            (503, 10_077, "maximum bytes exceeded", "Unavailable"),
            (400, 10_002, "resource limits exceeded for account", "Unavailable"),
            (500, 10_047, "insufficient storage resources available", "Unavailable"),
            (503, 10_008, "JetStream system temporarily unavailable", "Unavailable"),
            (409, 10_158, "duplicate message id is in process", "Unknown"),
            (429, 10_167, "too many requests", "Throttled"),
            (400, 10_999, "nothing that is known of", "Unavailable"),
        ] {
            let error = format!(
                r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"{description}"}},
                    "stream":"S","seq":0}}"#
            );
            let Some(Answer::Outcome(is)) = of(&reply(None, &error)) else { panic!("{error}") };
            assert!(format!("{is:?}").starts_with(outcome), "{description}: {is:?}");
        }
    }

    #[test]
    fn a_fence_bars_for_two_reasons() {
        for (code, bar) in [(10_071, Bar::Other), (10_164, Bar::Busy)] {
            let error =
                format!(r#"{{"error":{{"code":400,"err_code":{code},"description":"x"}}}}"#);
            let answer = of(&reply(None, &error));
            assert!(matches!(answer, Some(Answer::Barred(is, _)) if is == bar), "{answer:?}");
        }
    }

    #[test]
    fn a_violation_names_its_subject() {
        let says = |what: &str| denial(&format!("Permissions Violation for {what}"));
        let published = says(r#"Publish to "orders.eu""#);
        assert_eq!(published, Some(Denial::Publish("orders.eu".into())));
        let subscribed = says(r#"Subscription to "_INBOX.x.*" using queue "y""#);
        assert_eq!(subscribed, Some(Denial::Subscribe("_INBOX.x.*".into())));
        assert_eq!(says(r#"Something to "x""#), None);
        assert_eq!(denial("Stale Connection"), None);
    }
}
