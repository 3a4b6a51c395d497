//! Sees all that is logged and measured in this process.

use std::fmt::{Debug, Write as _};
use std::sync::{Arc, Mutex, Once};

use metrics::{Counter, Gauge, Histogram, Key, KeyName, Recorder, SharedString, Unit};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Metadata, Subscriber};

use crate::CANARY;

static SEEN: Mutex<String> = Mutex::new(String::new());

/// Begins to look, at everything: every level of whoever logs.
pub(crate) fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing::subscriber::set_global_default(Witness).unwrap();
        metrics::set_global_recorder(Witness).unwrap();
    });
}

/// What was seen so far does not tell.
#[track_caller]
pub(crate) fn assert_nothing_seen() {
    let seen = SEEN.lock().unwrap();
    assert!(seen.contains("level="), "nothing is seen at all");
    let telling: Vec<&str> = seen.lines().filter(|line| tells(line)).collect();
    let shortened = telling.iter().map(|line| line.chars().take(600).collect::<String>());
    assert!(telling.is_empty(), "{}", shortened.collect::<Vec<_>>().join("\n"));
}

/// As text, as bytes in decimal or in hexadecimal.
pub(crate) fn tells(said: &str) -> bool {
    let decimal: Vec<_> = CANARY.bytes().map(|byte| byte.to_string()).collect();
    let hex: Vec<_> = CANARY.bytes().map(|byte| format!("{byte:02x}")).collect();
    [CANARY, &decimal.join(", "), &hex.concat()].iter().any(|form| said.contains(form))
}

fn see(line: &str) {
    let mut seen = SEEN.lock().unwrap();
    // One line each, whatever is in it.
    seen.push_str(&line.replace('\n', " "));
    seen.push('\n');
}

/// What brokers' clients log themselves: whole messages that RabbitMQ returns, and at TRACE what is
/// written to NATS, with the password. Services are told to turn it off, and the program does.
const TELLING: [&str; 2] = ["lapin::returned_messages", "async_nats::connection"];

struct Witness;

struct Fields(String);

impl Fields {
    fn of(metadata: &Metadata<'_>) -> Self {
        Self(format!("level={} target={}", metadata.level(), metadata.target()))
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        write!(self.0, " {field}={value:?}").unwrap();
    }
}

impl Subscriber for Witness {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        !TELLING.contains(&metadata.target())
    }

    fn new_span(&self, span: &Attributes<'_>) -> Id {
        let mut fields = Fields::of(span.metadata());
        span.record(&mut fields);
        see(&fields.0);
        Id::from_u64(1)
    }

    fn record(&self, _: &Id, values: &Record<'_>) {
        let mut fields = Fields(String::new());
        values.record(&mut fields);
        see(&fields.0);
    }

    fn event(&self, event: &Event<'_>) {
        let mut fields = Fields::of(event.metadata());
        event.record(&mut fields);
        see(&fields.0);
    }

    fn record_follows_from(&self, _: &Id, _: &Id) {}
    fn enter(&self, _: &Id) {}
    fn exit(&self, _: &Id) {}
}

impl Recorder for Witness {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, text: SharedString) {
        see(&text);
    }

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, text: SharedString) {
        see(&text);
    }

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, text: SharedString) {
        see(&text);
    }

    fn register_counter(&self, key: &Key, _: &metrics::Metadata<'_>) -> Counter {
        see(&key.to_string());
        Counter::noop()
    }

    fn register_gauge(&self, key: &Key, _: &metrics::Metadata<'_>) -> Gauge {
        see(&key.to_string());
        Gauge::noop()
    }

    fn register_histogram(&self, key: &Key, _: &metrics::Metadata<'_>) -> Histogram {
        see(&key.to_string());
        Histogram::noop()
    }
}

/// Is told what a relay tells.
#[derive(Default)]
pub(crate) struct Events(Mutex<Vec<outbox::relay::Event>>);

impl outbox::Observer for Events {
    fn observe(&self, event: &outbox::relay::Event) {
        see(&format!("{event:?}"));
        self.0.lock().unwrap().push(event.clone());
    }
}

impl Events {
    pub(crate) fn has(&self, is_meant: impl FnMut(&outbox::relay::Event) -> bool) -> bool {
        self.0.lock().unwrap().iter().any(is_meant)
    }

    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }
}
