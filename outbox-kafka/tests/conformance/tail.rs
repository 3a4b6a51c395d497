//! The tail.

use std::fmt::{Debug, Write as _};
use std::sync::Mutex;
use std::time::{Duration, UNIX_EPOCH};

use outbox_core::broker::Tail;
use outbox_core::{Message, Outcome};
use outbox_kafka::{KafkaError, KafkaTail};
use outbox_testkit::servers::free_ports;
use rdkafka::config::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::broker::{PATIENCE, new_topic, servers, shared};
use crate::publishing::{connect, messages, publish};

#[tokio::test]
async fn it_shows_what_arrives_after_it_was_made() {
    let url = shared();
    let topic = new_topic(&servers(&url), &[]).await;
    let publisher = connect(&url).await;
    assert_eq!(publish(&publisher, &messages(&topic, 3)).await, vec![Outcome::Delivered; 3]);
    let mut tail = KafkaTail::connect(url.parse().unwrap(), &topic).await.unwrap();
    let sent = Message::json(topic.as_str(), &[1, 2])
        .key("k")
        .message_type("t")
        .header("same", "1")
        .header("same", "2")
        .created_at(UNIX_EPOCH + Duration::from_micros(1_750_946_400_123_456))
        .build()
        .unwrap();
    assert_eq!(publish(&publisher, std::slice::from_ref(&sent)).await, [Outcome::Delivered]);
    let read = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap().unwrap();
    assert!(read == sent, "{read:?}");
    // What another program has written is shown as far as it goes.
    let other: BaseProducer =
        ClientConfig::new().set("bootstrap.servers", servers(&url)).create().unwrap();
    other.send(BaseRecord::<str, [u8]>::to(&topic).payload(&[0xff, 0][..])).unwrap();
    other.flush(PATIENCE).unwrap();
    let read = tokio::time::timeout(PATIENCE, tail.next()).await.unwrap().unwrap();
    assert_eq!((read.payload().as_ref(), read.key()), ([0xff, 0].as_slice(), None));
    assert_eq!(read.content_type(), "application/octet-stream");
}

#[tokio::test]
async fn a_topic_that_is_not_there_is_named() {
    let url = shared();
    let error = KafkaTail::connect(url.parse().unwrap(), "no-such").await.unwrap_err();
    assert_eq!(error.to_string(), "the Kafka topic `no-such` does not exist");
}

/// Seen to be no more than a transport failure. What librdkafka says of it is told once, as the
/// error.
#[tokio::test]
async fn a_broker_that_is_not_there_is_named_and_why() {
    // Other tests may set no other.
    tracing::subscriber::set_global_default(Log).unwrap();
    let [port] = free_ports();
    let url = format!("kafka://127.0.0.1:{port}?connect_timeout_ms=500");
    let error = KafkaTail::connect(url.parse().unwrap(), "orders").await.unwrap_err();
    assert!(matches!(error, KafkaError::Unreachable(_)) && error.is_retryable(), "{error:?}");
    assert!(error.to_string().contains(&format!("127.0.0.1:{port}")), "{error}");
    assert!(error.to_string().contains("Connection refused"), "{error}");
    let logged = LOG.lock().unwrap();
    assert!(!logged.contains(&port.to_string()), "{logged}");
}

/// What the program logs as a warning or an error, of all tests in this process.
static LOG: Mutex<String> = Mutex::new(String::new());

struct Log;

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= LevelFilter::WARN
    }

    fn event(&self, event: &Event<'_>) {
        struct Fields<'a>(&'a mut String);

        impl Visit for Fields<'_> {
            fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
                writeln!(self.0, "{field}: {value:?}").unwrap();
            }
        }

        event.record(&mut Fields(&mut LOG.lock().unwrap()));
    }

    fn new_span(&self, _: &Attributes<'_>) -> Id {
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, _: &Record<'_>) {}
    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}
