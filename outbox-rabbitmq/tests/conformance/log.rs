//! Nothing of a message is in the program's log.

use std::fmt::{Debug, Write as _};
use std::sync::Mutex;

use lapin::BasicProperties;
use lapin::options::BasicPublishOptions;
use outbox_core::Outcome;
use outbox_testkit::suite::publisher::PublisherHarness as _;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::rabbit::{Rabbit, bytes, publish, unique};

/// What the program logs, of all tests in this process.
static LOG: Mutex<String> = Mutex::new(String::new());

struct Log;

impl Subscriber for Log {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        *metadata.level() <= LevelFilter::DEBUG
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::DEBUG)
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

fn logged(text: &str) -> bool {
    LOG.lock().unwrap().contains(text)
}

/// The client warns of a message that comes back, with all that is in it. Seen to be logged without
/// the silence; the client without the adapter shows that it is looked for in the right place.
#[tokio::test]
async fn a_message_that_comes_back_is_not_logged() {
    // Other tests may set no other.
    tracing::subscriber::set_global_default(Log).unwrap();
    let rabbit = Rabbit::open().await;
    let nowhere = unique("nowhere");

    let canary = unique("canary");
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let properties = BasicProperties::default().with_message_id(canary.as_str().into());
    let queue = nowhere.as_str().into();
    let sent = rabbit.channel.basic_publish("".into(), queue, options, &[7], properties).await;
    sent.unwrap().await.unwrap();
    for _ in 0..600 {
        if logged(&canary) {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert!(logged(&canary), "the client alone logs it");

    let publisher = rabbit.connect("").await;
    for _ in 0..3 {
        let sent = bytes(&nowhere, 7);
        let outcomes = publish(&publisher, std::slice::from_ref(&sent)).await;
        assert!(matches!(outcomes[0], Outcome::Rejected(_)), "{outcomes:?}");
        assert!(!logged(&sent.id().to_string()), "it is in the log");
    }
}
