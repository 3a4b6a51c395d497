//! Answers that fail, come late or not at all.

use std::time::Duration;

use outbox_core::{Message, Outcome, Publisher};
use outbox_sqs::{SqsConfig, SqsError, SqsPublisher};
use outbox_testkit::faults::Proxy;

use crate::queue::config;
use crate::service::Service;
use crate::sqs::{address, at, connect, message, publish, publish_within, queue};

fn error(code: &str) -> String {
    format!("{{\"__type\":\"com.amazonaws.sqs#{code}\"}}")
}

fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Failed(_) => "failed",
        Outcome::Rejected(_) => "rejected",
        Outcome::Throttled(_) => "throttled",
        Outcome::Unavailable(_) => "unavailable",
        Outcome::Unknown => "unknown",
    }
}

/// Row 57: the answer has status 200, and some messages were not taken.
#[tokio::test]
async fn each_entry_of_an_answer_counts_for_itself() {
    let Some(queue) = queue(false).await else { return };
    let service = Service::start(address(&config())).await;
    let publisher = connect(at(service.address)).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    let before = service.requests();
    let batch: Vec<_> = (0..30).map(|_| message(&queue.name)).collect();
    let mut expected = vec!["delivered"; 30];
    for (index, code, sender_fault, outcome) in [
        (3, "InternalError", false, "failed"),
        (4, "InvalidMessageContents", true, "rejected"),
        (11, "ThrottlingException", true, "throttled"),
        (12, "KMS.AccessDeniedException", true, "unavailable"),
        (29, "ServiceUnavailable", false, "unavailable"),
    ] {
        service.fail(&batch[index], code, sender_fault);
        expected[index] = outcome;
    }
    let outcomes = publish(&publisher, &batch).await;
    assert_eq!(outcomes.iter().map(kind).collect::<Vec<_>>(), expected, "{outcomes:?}");
    assert_eq!(outcomes[3], Outcome::Failed("SQS answers InternalError: says so".into()));
    assert_eq!((service.requests() - before, service.most_entries()), (3, 10));
    let arrived: Vec<_> = queue.arrived().await.iter().map(Message::id).collect();
    for (message, outcome) in batch.iter().zip(&outcomes) {
        assert_eq!(arrived.contains(&message.id()), *outcome == Outcome::Delivered);
    }
    queue.delete().await;
}

#[tokio::test]
async fn each_answer_to_a_request_has_its_outcome_and_is_asked_for_once() {
    let Some(queue) = queue(false).await else { return };
    let service = Service::start(address(&config())).await;
    let publisher = connect(at(service.address)).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    for (status, body, expected) in [
        (400, error("QueueDoesNotExist"), "rejected"),
        (400, error("BatchRequestTooLong"), "failed"),
        (400, error("InvalidParameterValue"), "failed"),
        (400, error("RequestThrottled"), "throttled"),
        (400, error("KmsAccessDenied"), "unavailable"),
        (403, error("AccessDeniedException"), "unavailable"),
        (400, error("UnrecognizedClientException"), "unavailable"),
        (503, error("ServiceUnavailable"), "unavailable"),
        (500, error("InternalFailure"), "unknown"),
        (504, "<html>late</html>".to_owned(), "unknown"),
        (403, "<html>no</html>".to_owned(), "unavailable"),
        (200, "<html>welcome</html>".to_owned(), "unknown"),
        (200, "{}".to_owned(), "unknown"),
        (200, "{\"Successful\":[],\"Failed\":[]}".to_owned(), "unknown"),
    ] {
        let before = service.requests();
        service.answer_next(status, &body);
        let batch = [message(&queue.name), message(&queue.name)];
        let outcomes = publish(&publisher, &batch).await;
        assert!(outcomes.iter().all(|o| kind(o) == expected), "{status} {body}: {outcomes:?}");
        assert_eq!(service.requests(), before + 1, "retrying is the relay's: {status} {body}");
        assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 2]);
    }
    queue.delete().await;
}

#[tokio::test]
async fn a_question_that_was_not_answered_leaves_nothing_unknown() {
    let Some(queue) = queue(false).await else { return };
    let service = Service::start(address(&config())).await;
    let publisher = connect(at(service.address)).await;
    for (status, body, expected) in [
        (500, error("InternalFailure"), "unavailable"),
        (200, "<html>welcome</html>".to_owned(), "unavailable"),
        (403, error("AccessDenied"), "unavailable"),
        (400, error("ThrottlingException"), "throttled"),
    ] {
        service.answer_next(status, &body);
        let outcomes = publish(&publisher, &[message(&queue.name)]).await;
        assert_eq!(kind(&outcomes[0]), expected, "{status} {body}: {outcomes:?}");
    }
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    queue.delete().await;
}

#[tokio::test]
async fn a_check_knows_a_key_that_may_not_list_from_one_that_is_none() {
    let Some(queue) = queue(false).await else { return };
    let service = Service::start(address(&config())).await;
    let publisher = connect(at(service.address)).await;
    service.answer_next(403, &error("AccessDeniedException"));
    assert_eq!(publisher.check().await, Ok(()));
    service.answer_next(403, &error("UnrecognizedClientException"));
    let reason = publisher.check().await.unwrap_err();
    assert!(reason.as_str().contains("refuses the access key (UnrecognizedClientException)"));
    service.answer_next(503, &error("ServiceUnavailable"));
    assert!(publisher.check().await.is_err());
    service.answer_next(403, &error("InvalidClientTokenId"));
    let refused = SqsPublisher::connect(at(service.address)).await.unwrap_err();
    assert!(matches!(refused, SqsError::Refused(_)) && !refused.is_retryable(), "{refused:?}");
    queue.delete().await;
}

#[tokio::test]
async fn a_service_that_is_down_is_unavailable_and_used_again_when_it_is_back() {
    let Some(queue) = queue(false).await else { return };
    let real = address(&config());
    let service = Service::start(real).await;
    let publisher = connect(at(service.address)).await;
    let before = message(&queue.name);
    assert_eq!(publish(&publisher, &[before]).await, [Outcome::Delivered]);
    let place = service.address;
    drop(service);
    for _ in 0..3 {
        let outcomes = publish(&publisher, &[message(&queue.name)]).await;
        // The first may still have found a connection that was about to close.
        assert!(["unavailable", "unknown"].contains(&kind(&outcomes[0])), "{outcomes:?}");
    }
    let outcomes = publish(&publisher, &[message(&queue.name), message("new-queue")]).await;
    assert!(outcomes.iter().all(|outcome| kind(outcome) == "unavailable"), "{outcomes:?}");
    assert!(publisher.check().await.is_err());
    let _service = Service::start_at(place, real).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    assert_eq!(publisher.check().await, Ok(()));
    assert_eq!(queue.settled().await.len(), 2, "what was given up is not sent later");
    queue.delete().await;
}

#[tokio::test]
async fn a_cut_connection_leaves_unknown_what_was_not_answered() {
    let Some(queue) = queue(true).await else { return };
    let proxy = Proxy::start(address(&config())).await.unwrap();
    let publisher = connect(at(proxy.address())).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    let held = proxy.hold();
    let batch: Vec<_> = (0..25).map(|_| message(&queue.name)).collect();
    let cutting = async {
        while queue.arrived().await.len() < 26 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy.cut();
    };
    let (outcomes, ()) = tokio::join!(publish(&publisher, &batch), cutting);
    assert_eq!(outcomes, vec![Outcome::Unknown; 25]);
    drop(held);
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 25]);
    assert_eq!(queue.settled().await.len(), 26, "what is sent again is there once");
    queue.delete().await;
}

#[tokio::test]
async fn late_answers_are_waited_for_until_the_deadline() {
    let Some(queue) = queue(false).await else { return };
    let proxy = Proxy::start(address(&config())).await.unwrap();
    let publisher = connect(at(proxy.address())).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    let batch = [message(&queue.name), message(&queue.name)];
    let held = proxy.hold();
    let answering = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        drop(held);
    };
    let (outcomes, ()) = tokio::join!(publish(&publisher, &batch), answering);
    assert_eq!(outcomes, vec![Outcome::Delivered; 2]);
    let _held = proxy.hold();
    let outcomes = publish_within(&publisher, &batch, Duration::from_millis(300)).await;
    assert_eq!(outcomes, vec![Outcome::Unknown; 2]);
    queue.delete().await;
}

/// Only so many requests are under way; what waits behind them is never sent.
#[tokio::test]
async fn what_was_given_up_is_not_sent_later() {
    let Some(queue) = queue(false).await else { return };
    let proxy = Proxy::start(address(&config())).await.unwrap();
    let publisher = connect(SqsConfig { concurrency: 2, ..at(proxy.address()) }).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    let batch: Vec<_> = (0..100).map(|_| message(&queue.name)).collect();
    let held = proxy.hold_all();
    let outcomes = publish_within(&publisher, &batch, Duration::from_millis(500)).await;
    let unknown = outcomes.iter().filter(|outcome| **outcome == Outcome::Unknown).count();
    let unavailable = outcomes.iter().filter(|outcome| kind(outcome) == "unavailable").count();
    assert_eq!((unknown, unavailable), (20, 80), "{outcomes:?}");
    drop(held);
    let arrived = queue.settled().await.len();
    assert!(arrived <= 21, "{arrived} arrived, only 20 can have been on the wire");
    assert_eq!(publish(&publisher, &batch).await, vec![Outcome::Delivered; 100]);
    queue.delete().await;
}
