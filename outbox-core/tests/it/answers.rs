//! Answers that come late, in part, or not at all.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering as Atomic};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use outbox_core::relay::{Command, DestinationSpec, Event, Input, RelayConfig, StoreFailure};
use outbox_core::{
    Epoch, Fate, LeaseRequest, Message, Observer, Ordering, Outcome, Partition, Publisher, Reason,
    Relay, SettleReport, StoreErrorKind, Visibility,
};
use outbox_testkit::memory::{Database, MemoryPublisher};

use crate::bench::{Bench, ids, other, settle_request};
use crate::driver::{quick, run_during, store, until};

fn lease_request(command: &Command) -> Option<LeaseRequest> {
    if let Command::Lease(request) = command { Some(request.clone()) } else { None }
}

/// Seen to fail with a lease that counts from its answer: the database counts from before, and
/// gives the partition away while its messages are on their way.
#[test]
fn a_lease_counts_from_when_it_was_asked_for() {
    let mut bench = Bench::new(Ordering::Independent);
    bench.enqueue(&["a"]);
    let request = bench.fetch_request();
    let page = bench.database.fetch(bench.now, &request);
    let request = bench.next(lease_request);
    let report = bench.database.lease(bench.now, &request);
    let config = RelayConfig::default();
    bench.now += config.lease.saturating_sub(config.publish_timeout) + Duration::from_millis(1);
    bench.tell(Input::Leased(Ok(report)));
    bench.tell(Input::Fetched(Ok(page)));
    assert!(!bench.wants_to_publish());
    bench.lease();
    assert!(bench.wants_to_publish(), "it goes on with a lease that was asked for in time");
}

/// While the database is away every lease runs out, also of those who live. Seen to fail where what
/// ran out is taken at once.
#[test]
fn after_an_outage_the_owners_of_leases_that_ran_out_come_first() {
    let config = RelayConfig::default();
    let renewal = other(&[Partition(1)], false);
    let mut database = Database::new(2, Visibility::Snapshot);
    database.lease(Duration::ZERO, &renewal);
    let spec = (DestinationSpec::default(), 1);
    let mut bench = Bench::over(database, Duration::ZERO, config, spec, 7);
    bench.now += config.lease * 2;
    bench.tell(Input::Timeout);
    bench.next(lease_request);
    let away = StoreFailure { kind: StoreErrorKind::Unavailable, reason: "away".into() };
    bench.tell(Input::Leased(Err(away)));
    bench.lease();
    // What is asked for at once comes before the other has had its turn.
    while let Some(at) = bench.commands.iter().position(|c| lease_request(c).is_some()) {
        let command = bench.commands.remove(at).unwrap();
        bench.answer(command, |_| Vec::new());
    }
    let report = bench.database.lease(bench.now, &renewal);
    assert_eq!(report.leases[1].owner, Some(renewal.relay), "{report:?}");
}

/// Seen to fail where what is missing counts as answered: the message stayed in memory for ever.
#[test]
fn a_settlement_that_is_answered_in_part_is_tried_again() {
    let mut bench = Bench::new(Ordering::Independent);
    bench.enqueue(&["a"]);
    bench.fetch();
    let batch = bench.batch();
    bench.published(&batch, vec![Outcome::Failed("no".into())]);
    bench.next(settle_request);
    bench.tell(Input::Settled(Ok(SettleReport { verdicts: Vec::new(), tx: None })));
    assert!(matches!(bench.settle()[..], [Fate::Retry(_)]));
    bench.drive(300, |_| Outcome::Delivered);
    assert_eq!(bench.database.backlog(), 0);
}

/// Seen to fail where what is missing counts as delivered: the message was lost.
#[test]
fn what_a_publisher_says_nothing_of_is_published_again() {
    let mut bench = Bench::new(Ordering::Independent);
    let sent = bench.enqueue(&["a", "b"]);
    bench.fetch();
    let batch = bench.batch();
    assert_eq!(ids(&batch), [sent[0].id(), sent[1].id()]);
    bench.published(&batch, vec![Outcome::Delivered]);
    let mut accepted = Vec::new();
    bench.drive(300, |message| {
        accepted.push(message.id());
        Outcome::Delivered
    });
    assert_eq!(accepted, [sent[1].id()]);
}

/// Counts the calls that come after their deadline.
struct Punctual {
    inner: MemoryPublisher,
    late: AtomicUsize,
}

#[async_trait]
impl Publisher for Punctual {
    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        self.late.fetch_add(usize::from(Instant::now() >= deadline), Atomic::SeqCst);
        self.inner.publish(batch, deadline, outcomes).await;
    }

    async fn check(&self) -> Result<(), Reason> {
        Ok(())
    }

    async fn close(&self) -> Result<(), Reason> {
        Ok(())
    }
}

/// Stands still once, for longer than a publish may last, when the first messages have come.
struct Stands(AtomicBool);

impl Observer for Stands {
    #[expect(clippy::disallowed_methods, reason = "the machine is to stand still")]
    fn observe(&self, event: &Event) {
        let came = matches!(event, Event::Fetched { rows: 1.., .. });
        if came && !self.0.swap(true, Atomic::SeqCst) {
            std::thread::sleep(quick().publish_timeout * 2);
        }
    }
}

/// Seen to fail without a look at the time: a client is asked first, and may have sent something
/// before it is told that there is no time.
#[tokio::test]
async fn what_is_too_late_to_publish_is_not_published() {
    let store = store();
    let message = Message::bytes("t", "x").key("a").build().unwrap();
    store.database().enqueue(store.now(), [message]).unwrap();
    let inner = MemoryPublisher::new(Ordering::Independent);
    let publisher = Arc::new(Punctual { inner, late: AtomicUsize::new(0) });
    let stands = Arc::new(Stands(AtomicBool::new(false)));
    let relay = Relay::builder(store.clone(), publisher.clone())
        .config(quick())
        .observer(stands.clone())
        .build()
        .unwrap();
    run_during(&relay, until("delivery", || store.database().backlog() == 0)).await;
    assert!(stands.0.load(Atomic::SeqCst));
    assert_eq!(publisher.late.load(Atomic::SeqCst), 0, "asked after the deadline");
    assert_eq!(publisher.inner.broker().log().len(), 1);
}

/// Seen to fail where a lost partition is forgotten at once: it was taken again, and its row
/// counted as known while a publish from before could still end.
#[test]
fn a_lost_partition_is_not_taken_again_while_its_messages_are_on_their_way() {
    let mut bench = Bench::new(Ordering::Independent);
    bench.enqueue(&["a"]);
    bench.fetch();
    let batch = bench.batch();
    bench.now += RelayConfig::default().lease * 2;
    bench.database.lease(bench.now, &other(&[Partition(0)], false));
    bench.tell(Input::Timeout);
    bench.lease();
    assert!(bench.events.contains(&Event::Lost(Partition(0))));
    bench.database.lease(bench.now, &other(&[], true));
    let again = Event::Acquired(Partition(0), Epoch(3));
    for _ in 0..5 {
        bench.lease();
    }
    assert!(!bench.events.contains(&again), "{:?}", bench.events);
    bench.published(&batch, vec![Outcome::Unknown]);
    bench.drive(300, |_| Outcome::Delivered);
    assert!(bench.events.contains(&again));
    assert_eq!(bench.database.backlog(), 0);
}
