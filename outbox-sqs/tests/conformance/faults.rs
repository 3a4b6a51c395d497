//! Answers that fail, come late or not at all.

use std::time::Duration;

use outbox_core::{Message, Outcome, Publisher};
use outbox_sqs::{SqsConfig, SqsError, SqsPublisher};
use outbox_testkit::faults::Proxy;

use crate::queue::{Queue, config};
use crate::service::Service;
use crate::sqs::{address, at, connect, message, publish, publish_within};

fn error(code: &str) -> String {
    format!("{{\"__type\":\"com.amazonaws.sqs#{code}\"}}")
}

pub(crate) fn kind(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Delivered => "delivered",
        Outcome::Failed(_) => "failed",
        Outcome::Rejected(_) => "rejected",
        Outcome::Throttled(_) => "throttled",
        Outcome::Fenced(_) => "fenced",
        Outcome::Unavailable(_) => "unavailable",
        Outcome::Unknown => "unknown",
    }
}

/// FAILURES row 57: the answer has status 200, and some messages were not taken. Seen to be lost,
/// called delivered, while the status counted for all.
#[tokio::test]
async fn each_entry_of_an_answer_counts_for_itself() {
    let queue = Queue::create(false).await;
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
        (12, "KMS.AccessDeniedException", true, "failed"),
        (29, "ServiceUnavailable", false, "failed"),
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
    let queue = Queue::create(false).await;
    let service = Service::start(address(&config())).await;
    let publisher = connect(at(service.address)).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    for (status, body, expected) in [
        (400, error("QueueDoesNotExist"), "failed"),
        (400, error("InvalidAddress"), "failed"),
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
        // Seen to fail for `InvalidAddress` when only queues that don't exist are forgotten.
        let asked_again = usize::from(expected == "failed");
        assert_eq!(service.requests(), before + 2 + asked_again, "{status} {body}");
    }
    queue.delete().await;
}

/// FAILURES row 57. Seen to fail when its messages share what their request is answered: all ten
/// have failed.
#[tokio::test]
async fn what_is_refused_as_a_whole_is_sent_one_by_one() {
    let queue = Queue::create(false).await;
    let service = Service::start(address(&config())).await;
    let publisher = connect(at(service.address)).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    for (code, outcome) in
        [("InvalidParameterValue", "failed"), ("BatchRequestTooLong", "rejected")]
    {
        let before = service.requests();
        let batch: Vec<_> = (0..10).map(|_| message(&queue.name)).collect();
        service.refuse(&batch[4].id(), 400, &error(code));
        let outcomes = publish(&publisher, &batch).await;
        let mut expected = ["delivered"; 10];
        expected[4] = outcome;
        assert_eq!(outcomes.iter().map(kind).collect::<Vec<_>>(), expected, "{outcomes:?}");
        assert_eq!(service.requests(), before + 1 + 10);
    }
    assert_eq!(queue.settled().await.len(), 1 + 9 + 9);
    queue.delete().await;
}

/// FAILURES row 57. Seen to fail when a refusal is unavailable whatever becomes of others, and when
/// it has failed whatever becomes of them: the first rests good queues, the second buries a
/// backlog.
#[tokio::test]
async fn what_a_queue_refuses_rests_no_other_and_alone_costs_no_attempt() {
    let (good, bad) = (Queue::create(false).await, Queue::create(false).await);
    let service = Service::start(address(&config())).await;
    let publisher = connect(at(service.address)).await;
    // The first is said when it is asked where the queue is, the others when it is sent to.
    for (status, code) in [
        (403, "AccessDeniedException"),
        (403, "AccessDenied"),
        (400, "KmsAccessDenied"),
        (400, "QueueDeletedRecently"),
    ] {
        service.refuse(&bad.name, status, &error(code));
        let both = [message(&good.name), message(&bad.name)];
        let outcomes = publish(&publisher, &both).await;
        assert_eq!(outcomes.iter().map(kind).collect::<Vec<_>>(), ["delivered", "failed"]);
        let outcomes = publish(&publisher, &both[1..]).await;
        assert_eq!(kind(&outcomes[0]), "unavailable", "{code}: {outcomes:?}");
        service.refuse_nothing();
        assert_eq!(publish(&publisher, &both[1..]).await, [Outcome::Delivered]);
    }
    let entry =
        "{\"Failed\":[{\"Id\":\"0\",\"Code\":\"KMS.DisabledException\",\"SenderFault\":true}]}";
    service.answer_next(200, entry);
    assert_eq!(kind(&publish(&publisher, &[message(&bad.name)]).await[0]), "unavailable");
    good.delete().await;
    bad.delete().await;
}

/// Seen to fail when what wasn't answered stays unknown, and when an empty URL is kept.
#[tokio::test]
async fn a_question_that_was_not_answered_leaves_nothing_unknown() {
    let queue = Queue::create(false).await;
    let service = Service::start(address(&config())).await;
    let publisher = connect(at(service.address)).await;
    for (status, body, expected) in [
        (500, error("InternalFailure"), "unavailable"),
        (200, "<html>welcome</html>".to_owned(), "unavailable"),
        (200, "{}".to_owned(), "unavailable"),
        (200, "{\"QueueUrl\":\"\"}".to_owned(), "unavailable"),
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
    let queue = Queue::create(false).await;
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
    let queue = Queue::create(false).await;
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
    let queue = Queue::create(true).await;
    let proxy = Proxy::start(address(&config())).unwrap();
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
    let queue = Queue::create(false).await;
    let proxy = Proxy::start(address(&config())).unwrap();
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
    let queue = Queue::create(false).await;
    let proxy = Proxy::start(address(&config())).unwrap();
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

/// Seen to fail when `close` doesn't wait for all permits: it is over at once, and what waits for
/// one is unavailable.
#[tokio::test]
async fn a_close_waits_for_what_was_begun() {
    let queue = Queue::create(false).await;
    let proxy = Proxy::start(address(&config())).unwrap();
    let publisher = connect(SqsConfig { concurrency: 1, ..at(proxy.address()) }).await;
    assert_eq!(publish(&publisher, &[message(&queue.name)]).await, [Outcome::Delivered]);
    let held = proxy.hold();
    let batch: Vec<_> = (0..25).map(|_| message(&queue.name)).collect();
    let closing = async {
        while queue.arrived().await.len() < 11 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut close = publisher.close();
        assert!(futures::poll!(&mut close).is_pending(), "a request is under way");
        drop(held);
        close.await
    };
    let (outcomes, closed) = tokio::join!(publish(&publisher, &batch), closing);
    assert_eq!((outcomes, closed), (vec![Outcome::Delivered; 25], Ok(())));
    let outcomes = publish(&publisher, &batch).await;
    assert!(outcomes.iter().all(|outcome| kind(outcome) == "unavailable"), "{outcomes:?}");
    queue.delete().await;
}
