//! Lanes that are parked and put back between the questions and the answers of a relay.

use outbox_core::relay::{Command, Input, StoreFailure};
use outbox_core::{Message, Ordering, Outcome, RereadRequest, StoreErrorKind, Visibility};
use uuid::Uuid;

use crate::bench::{Bench, settle_request};
use crate::parking::{all, config, deliver};

/// Where nothing is found by a look behind the cursors.
fn ordered() -> Bench {
    Bench::build(Ordering::Independent, config(), 1, Visibility::Ordered, 1)
}

fn refused() -> Vec<Outcome> {
    vec![Outcome::Rejected("refused".into())]
}

fn enqueue(bench: &mut Bench, keys: &[&str]) -> Vec<Uuid> {
    bench.enqueue(keys).iter().map(Message::id).collect()
}

/// A page that is to tell of parked lanes is read before a verdict parks one, and comes after it.
/// Seen to fail where it is believed: the lane went on.
#[test]
fn a_page_from_before_a_verdict_hides_no_parked_lane() {
    let mut bench = Bench::with(Ordering::Independent, config());
    let sent = enqueue(&mut bench, &["a", "a"]);
    bench.fetch();
    let batch = bench.batch();
    bench.fetch_request();
    let reset = StoreFailure { kind: StoreErrorKind::Unavailable, reason: "reset".into() };
    bench.tell(Input::Fetched(Err(reset)));
    let request = bench.fetch_request();
    assert!(request.reads[0].parked);
    let page = bench.database.fetch(bench.now, &request);
    bench.published(&batch, refused());
    bench.settle();
    bench.tell(Input::Fetched(Ok(page)));
    assert!(deliver(&mut bench, Uuid::nil()).is_empty());
    assert_eq!(bench.database.stats(bench.now).parked, 1);
    bench.database.redrive(bench.now, &all());
    assert_eq!(deliver(&mut bench, Uuid::nil()), sent);
}

/// A lane is parked and put back, and pages tell of that, before the verdict that parked it is
/// answered. Seen to fail where only a refused verdict starts the reading over: the message was in
/// memory when the pages showed it, and never read again.
#[test]
fn a_redrive_before_the_answer_to_a_verdict_strands_nothing() {
    let mut bench = ordered();
    let sent = enqueue(&mut bench, &["a"]);
    bench.fetch();
    let batch = bench.batch();
    bench.published(&batch, refused());
    let request = bench.next(settle_request);
    let report = bench.database.settle(bench.now, &request);
    assert_eq!(bench.database.redrive(bench.now, &all()), 1);
    // The first sees another generation, and the second what is parked under that.
    bench.fetch();
    let page = bench.fetch();
    assert_eq!((page.rows.len(), page.parked.len()), (1, 0));
    bench.tell(Input::Settled(Ok(report)));
    assert_eq!(deliver(&mut bench, Uuid::nil()), sent);
}

/// A relay learns of a redrive by reading the message again that its lane was parked behind, and
/// forgets the generation that it knew. Seen to fail where the next page is taken in as it comes:
/// of another lane that was put back, nothing was read.
#[test]
fn what_was_put_back_behind_a_forgotten_generation_is_read() {
    let mut bench = ordered();
    let other = enqueue(&mut bench, &["b"]);
    assert!(deliver(&mut bench, other[0]).is_empty());
    let sent = enqueue(&mut bench, &["a", "a"]);
    bench.fetch();
    let batch = bench.batch();
    bench.published(&batch, refused());
    bench.settle();
    let request: RereadRequest = bench.next(|command| match command {
        Command::Reread(request) => Some(request.clone()),
        _ => None,
    });
    assert_eq!(bench.database.redrive(bench.now, &all()), 2);
    let rows = bench.database.reread(bench.now, &request);
    assert_eq!(rows.len(), 2, "the message that died is there again");
    bench.tell(Input::Reread(Ok(rows)));
    let delivered = deliver(&mut bench, Uuid::nil());
    assert!(delivered.contains(&other[0]), "the other lane was left behind");
    let of_the_lane: Vec<_> = delivered.into_iter().filter(|id| sent.contains(id)).collect();
    assert_eq!(of_the_lane, sent);
}

/// What follows a dead message waits for another settlement to end when a redrive puts its lane back,
/// and pages tell of that. Seen to fail where a refused verdict doesn't start the reading over: the
/// message was in memory when the pages showed it, and never read again.
#[test]
fn a_follower_that_was_refused_is_read_again() {
    let mut bench = ordered();
    let mut sent = enqueue(&mut bench, &["a"]);
    assert!(deliver(&mut bench, sent[0]).is_empty());
    enqueue(&mut bench, &["b"]);
    bench.fetch();
    let batch = bench.batch();
    bench.published(&batch, vec![Outcome::Delivered]);
    let request = bench.next(settle_request);
    sent.extend(enqueue(&mut bench, &["a"]));
    bench.fetch();
    assert_eq!(bench.database.redrive(bench.now, &all()), 1);
    bench.fetch();
    let page = bench.fetch();
    assert_eq!((page.rows.len(), page.parked.len()), (3, 0));
    let report = bench.database.settle(bench.now, &request);
    bench.tell(Input::Settled(Ok(report)));
    assert_eq!(deliver(&mut bench, Uuid::nil()), sent);
    assert_eq!(bench.database.counters().not_parked, 1);
}

/// Seen to fail where they are remembered: they cost memory, and count as this relay's.
#[test]
fn parked_lanes_of_others_are_forgotten() {
    let mut bench = ordered();
    let sent = enqueue(&mut bench, &["a"]);
    assert!(deliver(&mut bench, sent[0]).is_empty());
    assert_eq!(bench.machine.parked_lanes(), 1);
    bench.tell(Input::Stop(bench.now + config().lease));
    assert_eq!(bench.machine.parked_lanes(), 0);
}
