//! What an answer of SQS means for a message.

use std::error::Error;
use std::io;
use std::time::Duration;

use aws_credential_types::provider::error::CredentialsError;
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::types::BatchResultErrorEntry;
use hyper_util::client::legacy;
use outbox_core::{Outcome, Reason};

use crate::SqsError;

/// When to try again what came too fast; SQS doesn't say.
const PAUSE: Duration = Duration::from_millis(500);

/// What is told of a queue that isn't there.
const MISSING_QUEUE: &str = "the queue doesn't exist any more, or may not be used from this account: \
                             create it, or set the option `create_queues`";

/// What is known of a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    /// Its outcome.
    Of(Outcome),
    /// SQS does not take it as things are, and that may be so for its queue only.
    Refused(Reason),
    /// SQS has taken none of the messages of its request. Single ones it may take.
    Apart,
}

/// SQS has answered for one message of a request, and has not taken it.
pub(crate) fn entry(entry: &BatchResultErrorEntry) -> Answer {
    let reason = reason(Some(entry.code()), entry.message());
    if let Some(answer) = by_code(Some(entry.code()), &reason) {
        return answer;
    }
    match last(entry.code()) {
        "ServiceUnavailable" => Answer::Refused(reason),
        _ if entry.sender_fault() => Answer::Of(Outcome::Rejected(reason)),
        _ => Answer::Of(Outcome::Failed(reason)),
    }
}

/// A request has failed as a whole. `handed` says whether it came as far as to the connection,
/// `alone` whether it was for one message.
pub(crate) fn call<E>(error: &SdkError<E>, handed: bool, alone: bool) -> Answer
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(_) | SdkError::ResponseError(_) => {
            let status = error.raw_response().map_or(0, |answer| answer.status().as_u16());
            answered(status, error.code(), error.message(), alone)
        }
        _ if !handed || never_connected(error) => {
            Answer::Of(Outcome::Unavailable(unreachable(error)))
        }
        _ => Answer::Of(Outcome::Unknown),
    }
}

/// Why nothing could be sent.
fn unreachable(error: &dyn Error) -> Reason {
    Reason::new(format!("SQS can't be asked: {}", Reason::of(error)))
}

/// Whether SQS says that the queue isn't there.
pub(crate) fn is_missing_queue<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    matches!(error.code().map(last), Some("QueueDoesNotExist" | "NonExistentQueue"))
}

/// Whether the queue isn't where it was thought to be.
pub(crate) fn is_elsewhere<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    is_missing_queue(error) || error.code().map(last) == Some("InvalidAddress")
}

/// What an error says of SQS as a whole.
pub(crate) fn unusable<E>(error: &SdkError<E>) -> SqsError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error.code() {
        Some(code) if is_refusal(code) || is_denial(code) => SqsError::Refused(refusal(code)),
        Some(code) => SqsError::Unavailable(reason(Some(code), error.message())),
        None => unanswered(error),
    }
}

/// Why nobody has answered: waiting helps unless what is missing is ours to give.
fn unanswered(error: &(dyn Error + 'static)) -> SqsError {
    let chain = || std::iter::successors(Some(error), |error| cause(*error));
    match chain().find_map(|error| error.downcast_ref::<CredentialsError>()) {
        Some(CredentialsError::CredentialsNotLoaded(_)) => SqsError::AccessKey(NO_KEY.into()),
        Some(CredentialsError::InvalidConfiguration(_)) => SqsError::AccessKey(Reason::of(error)),
        _ if chain().any(<dyn Error>::is::<rustls::Error>) => SqsError::Tls(Reason::of(error)),
        _ => SqsError::Unavailable(Reason::of(error)),
    }
}

/// What an I/O error holds isn't its source.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(held) => Some(held),
        None => error.source(),
    }
}

const NO_KEY: &str = "the environment has none: set `AWS_ACCESS_KEY_ID` and \
                      `AWS_SECRET_ACCESS_KEY`, or the options `access_key_id` and \
                      `secret_access_key`";

/// Whether SQS knows who asks and says that he may not.
pub(crate) fn is_denied<E: ProvideErrorMetadata>(error: &SdkError<E>) -> bool {
    error.code().is_some_and(is_denial)
}

fn is_denial(code: &str) -> bool {
    matches!(last(code), "AccessDenied" | "AccessDeniedException")
}

fn answered(status: u16, code: Option<&str>, message: Option<&str>, alone: bool) -> Answer {
    let reason = reason(code, message);
    if let Some(answer) = by_code(code, &reason) {
        return answer;
    }
    let outcome = match (status, code.map(last)) {
        (429, _) => Outcome::Throttled(PAUSE),
        (503, _) | (_, Some("ServiceUnavailable")) => Outcome::Unavailable(reason),
        // It may have failed after it has stored them.
        (500.., _) => Outcome::Unknown,
        (400.., Some(_)) if !alone => return Answer::Apart,
        (_, Some("BatchRequestTooLong")) => Outcome::Rejected(reason),
        (400.., Some(_)) => Outcome::Failed(reason),
        // Nothing that SQS writes: a proxy, or another server.
        (300.., None) => {
            let says = format!("the endpoint answers with HTTP {status}, and not as SQS does");
            Outcome::Unavailable(says.into())
        }
        _ => Outcome::Unknown,
    };
    Answer::Of(outcome)
}

/// What some codes mean, whether they are said of a request or of one message in it. Those about
/// access and keys count as the sender's fault to SQS; a message must not be rejected for them.
fn by_code(code: Option<&str>, reason: &Reason) -> Option<Answer> {
    let code = code?;
    let outcome = match last(code) {
        "Throttling"
        | "ThrottlingException"
        | "ThrottledException"
        | "RequestThrottled"
        | "RequestThrottledException"
        | "RequestLimitExceeded"
        | "TooManyRequestsException"
        | "OverLimit"
        | "KmsThrottled" => Outcome::Throttled(PAUSE),
        "QueueDoesNotExist" | "NonExistentQueue" => Outcome::Failed(MISSING_QUEUE.into()),
        "InvalidAddress" => Outcome::Failed(reason.clone()),
        "QueueDeletedRecently" => return Some(Answer::Refused(reason.clone())),
        _ if is_kms(code) => return Some(Answer::Refused(reason.clone())),
        _ if is_denial(code) => return Some(Answer::Refused(refusal(code))),
        _ if is_refusal(code) => Outcome::Unavailable(refusal(code)),
        _ => return None,
    };
    Some(Answer::Of(outcome))
}

/// Whether SQS doesn't know the access key, or the key may not do that.
fn is_refusal(code: &str) -> bool {
    matches!(
        last(code),
        "ExpiredToken"
            | "ExpiredTokenException"
            | "IncompleteSignature"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "InvalidSecurity"
            | "InvalidSignatureException"
            | "MissingAuthenticationToken"
            | "MissingAuthenticationTokenException"
            | "NotAuthorized"
            | "OptInRequired"
            | "RequestExpired"
            | "RequestTimeTooSkewed"
            | "SignatureDoesNotMatch"
            | "UnrecognizedClientException"
    )
}

/// What SQS writes besides can be long, and shows the request.
fn refusal(code: &str) -> Reason {
    Reason::new(format!(
        "SQS refuses the access key ({code}): check the key, the clock, and the permissions \
         `sqs:SendMessage` and `sqs:GetQueueUrl`"
    ))
}

/// Whether it is about the key with which the queue is encrypted.
fn is_kms(code: &str) -> bool {
    code.starts_with("KMS.") || code.starts_with("Kms")
}

/// Older names of errors stand behind `AWS.SimpleQueueService.`.
fn last(code: &str) -> &str {
    code.rsplit(['.', '#']).next().unwrap_or(code)
}

fn reason(code: Option<&str>, message: Option<&str>) -> Reason {
    let code = code.unwrap_or("an error without a code");
    Reason::new(match message {
        Some(message) => format!("SQS answers {code}: {message}"),
        None => format!("SQS answers {code}"),
    })
}

/// Whether the client says that it had no connection to send anything on.
fn never_connected(error: &(dyn Error + 'static)) -> bool {
    let mut next = Some(error);
    while let Some(error) = next {
        if error.downcast_ref::<legacy::Error>().is_some_and(legacy::Error::is_connect) {
            return true;
        }
        next = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::error::ConnectorError;
    use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchError;

    use super::*;

    fn kind(answer: &Answer) -> &'static str {
        match answer {
            Answer::Of(Outcome::Delivered) => "delivered",
            Answer::Of(Outcome::Failed(_)) => "failed",
            Answer::Of(Outcome::Rejected(_)) => "rejected",
            Answer::Of(Outcome::Throttled(_)) => "throttled",
            Answer::Of(Outcome::Fenced(_)) => "fenced",
            Answer::Of(Outcome::Unavailable(_)) => "unavailable",
            Answer::Of(Outcome::Unknown) => "unknown",
            Answer::Refused(_) => "refused",
            Answer::Apart => "apart",
        }
    }

    #[test]
    fn each_entry_has_its_meaning() {
        for (code, sender_fault, expected) in [
            ("InvalidParameterValue", true, "rejected"),
            ("InvalidMessageContents", true, "rejected"),
            ("InternalError", false, "failed"),
            ("InternalFailure", false, "failed"),
            ("SomethingNew", false, "failed"),
            ("ServiceUnavailable", false, "refused"),
            ("ThrottlingException", true, "throttled"),
            ("RequestThrottled", false, "throttled"),
            ("KmsThrottled", true, "throttled"),
            ("KMS.ThrottlingException", true, "throttled"),
            ("KMS.AccessDeniedException", true, "refused"),
            ("KMS.DisabledException", true, "refused"),
            ("KmsInvalidState", true, "refused"),
            ("AccessDenied", true, "refused"),
        ] {
            let failed = BatchResultErrorEntry::builder().id("0").code(code);
            let failed = failed.sender_fault(sender_fault).build().unwrap();
            assert_eq!(kind(&entry(&failed)), expected, "{code}");
        }
    }

    #[test]
    fn each_answer_to_a_request_has_its_meaning() {
        for (status, code, expected) in [
            (400, Some("AWS.SimpleQueueService.NonExistentQueue"), "failed"),
            (400, Some("QueueDoesNotExist"), "failed"),
            (400, Some("InvalidAddress"), "failed"),
            (400, Some("AWS.SimpleQueueService.BatchRequestTooLong"), "apart"),
            (400, Some("InvalidParameterValue"), "apart"),
            (400, Some("RequestThrottled"), "throttled"),
            (400, Some("ThrottlingException"), "throttled"),
            (400, Some("KMS.NotFoundException"), "refused"),
            (400, Some("AWS.SimpleQueueService.QueueDeletedRecently"), "refused"),
            (403, Some("AccessDenied"), "refused"),
            (403, Some("InvalidClientTokenId"), "unavailable"),
            (403, Some("SignatureDoesNotMatch"), "unavailable"),
            (403, None, "unavailable"),
            (301, None, "unavailable"),
            (429, None, "throttled"),
            (503, Some("ServiceUnavailable"), "unavailable"),
            (503, None, "unavailable"),
            (500, Some("InternalFailure"), "unknown"),
            (500, Some("InternalError"), "unknown"),
            (504, None, "unknown"),
            (200, None, "unknown"),
        ] {
            let answer = answered(status, code, Some("says so"), false);
            assert_eq!(kind(&answer), expected, "{status} {code:?}: {answer:?}");
        }
        for (code, expected) in
            [("BatchRequestTooLong", "rejected"), ("InvalidParameterValue", "failed")]
        {
            assert_eq!(kind(&answered(400, Some(code), None, true)), expected, "{code}");
        }
    }

    #[test]
    fn what_may_have_been_sent_is_unknown() {
        type Sent = SdkError<SendMessageBatchError>;
        let lost = || ConnectorError::io("connection reset".into());
        for error in [Sent::timeout_error("late"), Sent::dispatch_failure(lost())] {
            assert_eq!(kind(&call(&error, true, true)), "unknown");
            assert_eq!(kind(&call(&error, false, true)), "unavailable");
        }
        let no_key = Sent::construction_failure("no access key");
        assert_eq!(kind(&call(&no_key, false, true)), "unavailable");
    }

    #[test]
    fn a_refusal_shows_nothing_of_the_request() {
        let outcome = answered(403, Some("SignatureDoesNotMatch"), Some("canary"), true);
        assert!(!format!("{outcome:?}").contains("canary"));
    }
}
