//! From what librdkafka reports to what the relay is told.

use std::time::Duration;

use outbox_core::{Outcome, Reason};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::KafkaError;

/// What librdkafka said of one message.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Report {
    /// Which message of the batch.
    pub(crate) index: usize,
    /// `None` if it is written.
    pub(crate) error: Option<Code>,
    /// Whether librdkafka has had nothing to say since it was connected.
    pub(crate) calm: bool,
    /// Whether it was the only message of its request.
    pub(crate) one_by_one: bool,
}

/// What becomes of a message that was handed over and then failed.
///
/// librdkafka knows whether a message may be written, but there is no safe way to ask it. Its
/// error codes say as much, with one exception: a message that is purged from the queue was either
/// never sent, or is about to be sent again. It is sent again after a lost connection or a
/// time-out, of which librdkafka speaks in its log; hence `calm`. (It says nothing when a broker
/// has answered `NotEnoughReplicasAfterAppend`. If such a message is purged while it waits for its
/// second try, it is `Unavailable` though it may be written: a duplicate that isn't foretold.)
///
/// `alone`: it was the only message of its request. What else a broker refuses as a whole names
/// no message; to know which, they must be sent one by one.
pub(crate) fn failed(code: Code, calm: bool, alone: bool) -> Outcome {
    let reason = || Reason::new(format!("Kafka: {code}"));
    match code {
        code if refuses_a_request(code) && alone => Outcome::Rejected(reason()),
        code if refuses_a_request(code) => {
            let reason = format!("Kafka: {code}: it was not said to which of several messages");
            Outcome::Failed(Reason::new(reason))
        }
        Code::InvalidTopic => Outcome::Rejected(reason()),
        Code::ThrottlingQuotaExceeded => Outcome::Throttled(Duration::from_secs(1)),
        Code::PurgeQueue if calm => {
            Outcome::Unavailable("Kafka: the broker took nothing more until the deadline".into())
        }
        Code::UnknownTopicOrPartition
        | Code::UnknownTopic
        | Code::UnknownPartition
        | Code::UnknownTopicId => Outcome::Failed(reason()),
        code if is_refusal_of_all(code) => Outcome::Unavailable(reason()),
        code if is_answer(code) => Outcome::Failed(reason()),
        _ => Outcome::Unknown,
    }
}

/// What becomes of a message that librdkafka did not accept: it never left this process.
pub(crate) fn not_accepted(code: Code) -> Outcome {
    let reason = || Reason::new(format!("Kafka: {code}"));
    match code {
        Code::MessageSizeTooLarge => Outcome::Rejected(reason()),
        Code::UnknownTopic | Code::UnknownPartition => Outcome::Failed(reason()),
        Code::QueueFull => Outcome::Throttled(Duration::ZERO),
        _ => Outcome::Unavailable(reason()),
    }
}

/// What becomes of messages for which there is no producer.
///
/// What a fence refuses says nothing of the broker, which delivers for others at the same time: an
/// attempt would count in the end if it were unavailable.
pub(crate) fn of_error(error: &KafkaError) -> Outcome {
    match error {
        KafkaError::Overtaken { .. } | KafkaError::Contested { .. } => {
            Outcome::Fenced(Reason::of(error))
        }
        _ => Outcome::Unavailable(Reason::of(error)),
    }
}

/// Whether the topic may have gone, and must be looked up again.
pub(crate) fn is_missing_topic(code: Code) -> bool {
    matches!(
        code,
        Code::UnknownTopicOrPartition
            | Code::UnknownTopic
            | Code::UnknownPartition
            | Code::UnknownTopicId
    )
}

/// Whether the broker has found fault with at least one message of a request, and refused all. It
/// does name the guilty, but librdkafka passes that on only if there are several of them.
pub(crate) fn refuses_a_request(code: Code) -> bool {
    matches!(
        code,
        Code::InvalidRecord
            | Code::InvalidDifferentRecord
            | Code::InvalidTimestamp
            | Code::MessageSizeTooLarge
            | Code::MessageBatchTooLarge
            | Code::PolicyViolation
    )
}

/// Whether the message may have waited for a topic that has gone.
pub(crate) fn is_purged(code: Code) -> bool {
    matches!(code, Code::PurgeQueue | Code::PurgeInflight)
}

/// The broker took nothing, and would take no other message of this client either. Some say so of
/// a partition only, but other partitions are often no better off.
pub(crate) fn is_refusal_of_all(code: Code) -> bool {
    matches!(
        code,
        Code::ClusterAuthorizationFailed
            | Code::TransactionalIdAuthorizationFailed
            | Code::SaslAuthenticationFailed
            | Code::Authentication
            | Code::SSL
            | Code::Resolve
            | Code::AllBrokersDown
            | Code::NotEnoughReplicas
            | Code::KafkaStorageError
            | Code::LeaderNotAvailable
            | Code::NotLeaderForPartition
            | Code::BrokerNotAvailable
            | Code::ReplicaNotAvailable
            | Code::CoordinatorLoadInProgress
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::UnsupportedCompressionType
            | Code::UnsupportedForMessageFormat
            | Code::UnsupportedFeature
            | Code::UnsupportedVersion
    )
}

/// Whether a broker has answered that it didn't take the message. Negative codes are
/// librdkafka's own; the others that are left out tell nothing of whether it is written.
fn is_answer(code: Code) -> bool {
    let ambiguous = matches!(
        code,
        Code::RequestTimedOut
            | Code::NotEnoughReplicasAfterAppend
            | Code::NetworkException
            | Code::OutOfOrderSequenceNumber
            | Code::DuplicateSequenceNumber
            | Code::InvalidProducerEpoch
            | Code::UnknownProducerId
            | Code::ProducerFenced
    );
    code as i32 > 0 && !ambiguous
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(outcome: &Outcome) -> &'static str {
        match outcome {
            Outcome::Delivered => "delivered",
            Outcome::Failed(_) => "failed",
            Outcome::Rejected(_) => "rejected",
            Outcome::Throttled(_) => "throttled",
            Outcome::Unavailable(_) => "unavailable",
            Outcome::Fenced(_) => "fenced",
            Outcome::Unknown => "unknown",
        }
    }

    /// Seen to fail for the second, which counted attempts while the broker delivered for others.
    #[test]
    fn what_a_fence_refuses_is_no_outage() {
        for error in [
            KafkaError::Overtaken { partition: 1, epoch: 2 },
            KafkaError::Contested { partition: 1 },
        ] {
            assert_eq!(kind(&of_error(&error)), "fenced", "{error}");
        }
        assert_eq!(kind(&of_error(&KafkaError::Closed)), "unavailable");
    }

    #[test]
    fn every_kind_of_failure_has_its_outcome() {
        for (code, expected) in [
            (Code::InvalidTopic, "rejected"),
            (Code::ThrottlingQuotaExceeded, "throttled"),
            (Code::UnknownTopicOrPartition, "failed"),
            (Code::UnknownTopic, "failed"),
            (Code::UnknownPartition, "failed"),
            (Code::InvalidMessage, "failed"),
            (Code::TopicAuthorizationFailed, "failed"),
            (Code::ClusterAuthorizationFailed, "unavailable"),
            (Code::NotEnoughReplicas, "unavailable"),
            (Code::KafkaStorageError, "unavailable"),
            (Code::Authentication, "unavailable"),
            (Code::NotEnoughReplicasAfterAppend, "unknown"),
            (Code::RequestTimedOut, "unknown"),
            (Code::MessageTimedOut, "unknown"),
            (Code::BrokerTransportFailure, "unknown"),
            (Code::PurgeInflight, "unknown"),
            (Code::Fatal, "unknown"),
            (Code::OutOfOrderSequenceNumber, "unknown"),
            (Code::InvalidProducerEpoch, "unknown"),
        ] {
            for calm in [true, false] {
                assert_eq!(kind(&failed(code, calm, true)), expected, "{code:?}");
                assert_eq!(kind(&failed(code, calm, false)), expected, "{code:?}");
            }
        }
    }

    #[test]
    fn what_waits_in_the_queue_was_not_sent_if_nothing_was_lost() {
        assert_eq!(kind(&failed(Code::PurgeQueue, true, true)), "unavailable");
        assert_eq!(kind(&failed(Code::PurgeQueue, false, true)), "unknown");
    }

    #[test]
    fn who_is_rejected_must_be_the_culprit() {
        for code in [Code::MessageSizeTooLarge, Code::InvalidRecord, Code::InvalidTimestamp] {
            assert_eq!(kind(&failed(code, true, true)), "rejected", "{code:?}");
            assert_eq!(kind(&failed(code, true, false)), "failed", "{code:?}");
        }
    }

    #[test]
    fn what_was_never_accepted_is_never_unknown() {
        for (code, expected) in [
            (Code::MessageSizeTooLarge, "rejected"),
            (Code::QueueFull, "throttled"),
            (Code::Fatal, "unavailable"),
            (Code::UnknownTopic, "failed"),
            (Code::InvalidArgument, "unavailable"),
        ] {
            assert_eq!(kind(&not_accepted(code)), expected, "{code:?}");
        }
    }
}
