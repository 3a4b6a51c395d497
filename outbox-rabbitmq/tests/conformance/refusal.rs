//! Messages that the adapter doesn't send, and connections that the broker doesn't take.

use outbox_core::{Message, Outcome};
use outbox_rabbitmq::{RabbitMqConfig, RabbitMqError, RabbitMqPublisher};
use outbox_testkit::suite::publisher::PublisherHarness as _;

use crate::rabbit::{Rabbit, ids, publish};

#[tokio::test]
async fn a_bad_message_is_rejected_alone() {
    let rabbit = Rabbit::open().await;
    let publisher = rabbit.connect("").await;
    let restored = |header: &str, size: usize| {
        let mut parts = rabbit.message().parts().clone();
        parts.headers = vec![(header.to_owned(), "x".repeat(size))];
        Message::restore(parts)
    };
    let mut untyped = rabbit.message().parts().clone();
    untyped.message_type = Some("t".repeat(256).into());
    for (bad, says) in [
        (restored("outbox-id", 1), "a header's name begins with `outbox-`, which is reserved"),
        (restored("CC", 1), "RabbitMQ takes headers named CC and BCC for routing keys"),
        (restored(&"n".repeat(256), 1), "the name of a header has more than AMQP's 255 bytes"),
        (restored("n", 131_072 - 1024), "the headers are larger than a frame of this connection"),
        (Message::restore(untyped), "the message type has more than AMQP's 255 bytes"),
    ] {
        let sent = [rabbit.message(), bad, rabbit.message()];
        let outcomes = publish(&publisher, &sent).await;
        let rejected = Outcome::Rejected(says.into());
        assert_eq!(outcomes, [Outcome::Delivered, rejected, Outcome::Delivered]);
        let arrived = rabbit.arrived_ids().await;
        assert_eq!(arrived[arrived.len() - 2..], [sent[0].id(), sent[2].id()]);
    }
    // The largest that fits does, with 1 KiB left for what the broker adds.
    let most = restored("n", 131_072 - 1024 - 250);
    assert_eq!(publish(&publisher, std::slice::from_ref(&most)).await, [Outcome::Delivered]);
    assert_eq!(ids(&rabbit.arrived().await).last(), Some(&most.id()));
}

/// FAILURES row 49. What the broker finds too large costs the channel, and all that is on it. Seen
/// to fail at the limit itself with `>=` in place of `>`, and beyond it without the adapter's
/// limit.
#[tokio::test]
async fn the_largest_payload_is_taken_and_one_byte_more_rejected_alone() {
    let rabbit = Rabbit::open().await;
    let publisher = rabbit.connect("max_message_bytes=1000").await;
    let sent = [1000, 1001, 10].map(|size| rabbit.bytes(size));
    let outcomes = publish(&publisher, &sent).await;
    let rejected = Outcome::Rejected("the payload has 1001 bytes, the limit is 1000".into());
    assert_eq!(outcomes, [Outcome::Delivered, rejected, Outcome::Delivered]);
    assert_eq!(rabbit.arrived_ids().await, [sent[0].id(), sent[2].id()]);
}

#[tokio::test]
async fn a_topic_without_a_destination_is_rejected() {
    let rabbit = Rabbit::open().await;
    let mut config: RabbitMqConfig = rabbit.url.parse().unwrap();
    let table = [("known".to_owned(), rabbit.queue.clone())];
    config.destination = outbox_core::broker::Destinations::table(table);
    let publisher = RabbitMqPublisher::connect(config).await.unwrap();
    let message = |topic: &str| Message::bytes(topic.to_owned(), "").build().unwrap();
    let outcomes = publish(&publisher, &[message("known"), message("unknown")]).await;
    let reason = "the configuration has no destination for this topic";
    assert_eq!(outcomes, [Outcome::Delivered, Outcome::Rejected(reason.into())]);
}

#[tokio::test]
async fn a_broker_that_refuses_says_why() {
    let rabbit = Rabbit::open().await;
    let config: RabbitMqConfig = rabbit.url.parse().unwrap();
    let wrong = RabbitMqConfig { password: Some("canary".into()), ..config.clone() };
    let error = RabbitMqPublisher::connect(wrong).await.unwrap_err();
    assert!(matches!(error, RabbitMqError::Refused { .. }), "{error:?}");
    assert!(error.to_string().contains("ACCESS_REFUSED") && !error.is_retryable(), "{error}");
    assert!(!format!("{error:?}").contains("canary"));
    let wrong = RabbitMqConfig { vhost: "nowhere".to_owned(), ..config };
    let error = RabbitMqPublisher::connect(wrong).await.unwrap_err();
    assert!(matches!(error, RabbitMqError::Refused { .. }), "{error:?}");
    let nobody = RabbitMqConfig::new("127.0.0.1:1");
    let error = RabbitMqPublisher::connect(nobody).await.unwrap_err();
    assert!(matches!(error, RabbitMqError::Connect { .. }) && error.is_retryable(), "{error:?}");
}

#[tokio::test]
async fn the_first_host_that_answers_is_used() {
    let rabbit = Rabbit::open().await;
    let mut config: RabbitMqConfig = rabbit.url.parse().unwrap();
    config.servers.insert(0, "127.0.0.1:1".to_owned());
    let publisher = RabbitMqPublisher::connect(config).await.unwrap();
    assert_eq!(publish(&publisher, &[rabbit.message()]).await, [Outcome::Delivered]);
}
