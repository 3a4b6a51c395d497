//! What a recorder of metrics is told.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use outbox_core::{Ending, Message, Ordering, Outcome, Relay};
use outbox_testkit::memory::MemoryPublisher;

use crate::driver::{quick, run_during, store, until};

/// All values of each metric, by its name and labels.
#[derive(Default, Clone)]
struct Recorded(Arc<Mutex<BTreeMap<String, Vec<f64>>>>);

/// One metric of it.
struct Metric(Recorded, String);

impl Recorded {
    fn metric(&self, key: &Key) -> Arc<Metric> {
        let label = |label: &metrics::Label| format!(" {}={}", label.key(), label.value());
        let name = key.name().to_owned() + &key.labels().map(label).collect::<String>();
        Arc::new(Metric(self.clone(), name))
    }

    fn values(&self, metric: &str) -> Vec<f64> {
        self.0.lock().unwrap().get(metric).cloned().unwrap_or_default()
    }

    fn count(&self, metric: &str) -> f64 {
        self.values(metric).iter().sum()
    }

    fn most(&self, metric: &str) -> f64 {
        self.values(metric).into_iter().fold(0.0, f64::max)
    }

    fn names(&self) -> BTreeSet<String> {
        let name = |metric: &String| metric.split(' ').next().unwrap().to_owned();
        self.0.lock().unwrap().keys().map(name).collect()
    }
}

impl Metric {
    fn add(&self, value: f64) {
        self.0.0.lock().unwrap().entry(self.1.clone()).or_default().push(value);
    }
}

impl CounterFn for Metric {
    fn increment(&self, value: u64) {
        self.add(f64::from(u32::try_from(value).unwrap()));
    }

    fn absolute(&self, _: u64) {
        unreachable!("the relay counts from where it starts")
    }
}

impl GaugeFn for Metric {
    fn increment(&self, _: f64) {
        unreachable!("the relay sets its gauges")
    }

    fn decrement(&self, _: f64) {
        unreachable!("the relay sets its gauges")
    }

    fn set(&self, value: f64) {
        self.add(value);
    }
}

impl HistogramFn for Metric {
    fn record(&self, value: f64) {
        self.add(value);
    }
}

impl Recorder for Recorded {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.metric(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.metric(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.metric(key))
    }
}

/// Of a dozen messages one is retried and one is given up. Seen to fail with each of these
/// counters, histograms and gauges taken out, and with delivered and failed ones exchanged.
#[tokio::test]
async fn a_run_of_a_relay_is_measured() {
    let recorded = Recorded::default();
    // The relay's tasks are all on this thread.
    let _recording = metrics::set_default_local_recorder(&recorded);
    let store = store();
    let publisher = Arc::new(MemoryPublisher::new(Ordering::Independent));
    let messages: Vec<_> =
        (0..12).map(|n| Message::bytes("t", "x").key(n).build().unwrap()).collect();
    publisher.refuse(messages[3].id(), Outcome::Failed("not now".into()));
    publisher.poison(messages[5].id(), Outcome::Rejected("never".into()));
    let now = store.now();
    store.database().enqueue(now, messages).unwrap();
    let relay = Relay::builder(store.clone(), publisher)
        .config(quick())
        .sample(store.clone(), Duration::from_millis(10))
        .build()
        .unwrap();
    let is_zero = |metric: &str| recorded.values(metric).last() == Some(&0.0);
    let empty = until("a sample of the empty outbox", || {
        store.database().backlog() == 0
            && is_zero("outbox_depth")
            && is_zero("outbox_oldest_age_seconds")
    });
    assert_eq!(run_during(&relay, empty).await, Ending::Clean);

    for (counter, count) in [
        ("outbox_published_total publisher=default", 11.0),
        ("outbox_failed_total publisher=default", 2.0),
        ("outbox_retried_total", 1.0),
        ("outbox_dead_total", 1.0),
        ("outbox_late_total", 0.0),
    ] {
        assert!((recorded.count(counter) - count).abs() < 0.1, "{counter}: {recorded:?}");
    }
    assert_eq!(recorded.values("outbox_end_to_end_seconds").len(), 11);
    // A second one, for the retry.
    assert!(recorded.values("outbox_publish_seconds publisher=default").len() >= 2);
    assert!(!recorded.values("outbox_fetch_seconds").is_empty());
    let partitions = 4.0;
    assert!((recorded.most("outbox_held_leases") - partitions).abs() < 0.1, "{recorded:?}");
    assert!(is_zero("outbox_held_leases"), "all were handed back");
    assert!((recorded.most("outbox_depth") - 12.0).abs() < 0.1, "{recorded:?}");
    assert!(recorded.most("outbox_oldest_age_seconds") > 0.0);
    let unknown: Vec<_> = recorded.names().difference(&documented()).cloned().collect();
    assert!(unknown.is_empty(), "not documented: {unknown:?}");
}

#[tokio::test]
async fn an_outage_shows_while_it_lasts() {
    let recorded = Recorded::default();
    let _recording = metrics::set_default_local_recorder(&recorded);
    let store = store();
    let publisher = Arc::new(MemoryPublisher::new(Ordering::Independent));
    let message = Message::bytes("t", "x").build().unwrap();
    let id = message.id();
    publisher.poison(id, Outcome::Unavailable("down".into()));
    let now = store.now();
    store.database().enqueue(now, vec![message]).unwrap();
    let relay = Relay::builder(store.clone(), publisher.clone()).config(quick()).build().unwrap();
    let values = || recorded.values("outbox_breaker_open publisher=default");
    let outage = async {
        until("the outage", || values() == [1.0]).await;
        publisher.cure(id);
        until("its end", || values() == [1.0, 0.0]).await;
    };
    run_during(&relay, outage).await;
}

/// Those of the table in the documentation of `Relay`.
fn documented() -> BTreeSet<String> {
    let rows = include_str!("../../src/driver/mod.rs").lines();
    let rows = rows.filter_map(|line| line.strip_prefix("/// | `outbox_"));
    rows.map(|row| format!("outbox_{}", row.split('`').next().unwrap())).collect()
}

/// Seen to fail with rows that nothing records.
#[test]
fn the_table_of_metrics_lists_those_that_there_are() {
    let source = include_str!("../../src/driver/telemetry.rs");
    let names = source.split("!(\"outbox_").skip(1);
    let names = names.map(|rest| format!("outbox_{}", rest.split('"').next().unwrap()));
    assert_eq!(documented(), names.collect());
}

impl std::fmt::Debug for Recorded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.lock().unwrap().fmt(f)
    }
}
