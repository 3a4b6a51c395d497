//! The tail.

use outbox_core::broker::Tail as _;
use outbox_core::{Message, Outcome};
use outbox_rabbitmq::{RabbitMqConfig, RabbitMqTail};
use outbox_testkit::suite::publisher::PublisherHarness as _;

use crate::rabbit::{Rabbit, bytes, ids, publish};

#[tokio::test]
async fn with_an_exchange_it_takes_nothing_from_others() {
    let rabbit = Rabbit::open().await;
    let options = "exchange=amq.topic";
    let config: RabbitMqConfig = format!("{}?{options}", rabbit.url).parse().unwrap();
    let mut tail = RabbitMqTail::connect(config, &rabbit.queue).await.unwrap();
    let publisher = rabbit.connect(options).await;
    let sent = Message::json(rabbit.queue.as_str(), &[1, 2])
        .key("k\n\"")
        .message_type("placed")
        .header("b", "1")
        .header("a", "2")
        .header("b", "")
        .created_at(std::time::UNIX_EPOCH + std::time::Duration::from_micros(1_750_946_400_123_456))
        .build()
        .unwrap();
    let bare = bytes(&rabbit.queue, 0);
    let delivered = vec![Outcome::Delivered; 2];
    assert_eq!(publish(&publisher, &[sent.clone(), bare.clone()]).await, delivered);
    assert_eq!(tail.next().await.unwrap(), sent);
    let arrived = tail.next().await.unwrap();
    assert_eq!((arrived.id(), arrived.key()), (bare.id(), bare.key()));
}

#[tokio::test]
async fn with_the_default_exchange_it_gives_back_what_it_has_read() {
    let rabbit = Rabbit::with(&[]).await;
    let publisher = rabbit.connect("").await;
    let sent = rabbit.messages(3);
    assert_eq!(publish(&publisher, &sent).await, vec![Outcome::Delivered; 3]);
    let mut tail = RabbitMqTail::connect(rabbit.url.parse().unwrap(), &rabbit.queue).await.unwrap();
    for message in &sent {
        assert_eq!(tail.next().await.unwrap().id(), message.id());
    }
    assert_eq!(rabbit.arrived().await, []);
    drop(tail);
    rabbit.wait_for(3).await;
    assert_eq!(ids(&rabbit.arrived().await), ids(&sent));
}
