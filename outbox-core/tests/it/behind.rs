//! Rows that appear behind the cursors, when the horizon has nearly passed them.

use std::time::Duration;

use outbox_core::relay::{Command, Input, RelayConfig, StoreFailure};
use outbox_core::{Message, Ordering, Outcome, Seq, StoreErrorKind, Visibility};
use uuid::Uuid;

use crate::bench::Bench;

fn message(key: &str) -> Message {
    Message::bytes("t", "x").key(key).build().unwrap()
}

/// Carries so many commands out, and returns what was delivered.
fn deliver(bench: &mut Bench, steps: usize) -> Vec<Uuid> {
    let mut delivered = Vec::new();
    bench.drive(steps, |message| {
        delivered.push(message.id());
        Outcome::Delivered
    });
    delivered
}

/// While a settlement is under way, a transaction begins, and a later row is read than its own. The
/// settlement's id says nothing of that transaction. Seen to fail where it counts for all that was
/// seen when it was answered: the horizon passed the row before it was there.
#[test]
fn a_horizon_covers_what_was_seen_before_its_question() {
    let mut bench = Bench::new(Ordering::Independent);
    bench.enqueue(&["a"]);
    bench.fetch();
    let batch = bench.batch();
    bench.published(&batch, vec![Outcome::Delivered]);
    let request = bench.next(|command| match command {
        Command::Settle(request) => Some(request.clone()),
        _ => None,
    });
    let report = bench.database.settle(bench.now, &request);
    let open = bench.database.begin().unwrap();
    let late = message("late");
    bench.database.insert(bench.now, open, late.clone());
    bench.enqueue(&["b"]);
    bench.fetch();
    bench.tell(Input::Settled(Ok(report)));
    assert_eq!(deliver(&mut bench, 100).len(), 1);
    bench.database.commit(open);
    assert_eq!(deliver(&mut bench, 300), [late.id()]);
}

/// A database that tells visibility by age alone, and a transaction that lasts longer than any should.
/// Seen to fail where nothing is read from the start again.
#[test]
fn what_a_transaction_left_that_lasted_too_long_is_found() {
    let config = RelayConfig { full_look: Duration::from_secs(10), ..RelayConfig::default() };
    let age = Visibility::Within(Duration::from_millis(400));
    let mut bench = Bench::build(Ordering::Independent, config, 1, age, 1);
    let open = bench.database.begin().unwrap();
    let late = message("late");
    bench.database.insert(bench.now, open, late.clone());
    bench.enqueue(&["b"]);
    assert_eq!(deliver(&mut bench, 50).len(), 1);
    assert!(bench.now > Duration::from_secs(2), "the horizon has passed it: {:?}", bench.now);
    bench.database.commit(open);
    assert_eq!(deliver(&mut bench, 500), [late.id()]);
}

/// A server that was restored gives places out again that the cursors have passed. Seen to fail where
/// a relay goes on where it was.
#[test]
fn after_a_failure_everything_is_read_again() {
    let config = RelayConfig::default();
    let mut bench = Bench::build(Ordering::Independent, config, 1, Visibility::Ordered, 1);
    bench.enqueue(&["a"]);
    assert_eq!(deliver(&mut bench, 50).len(), 1);
    bench.database.rewind(Seq::START);
    let restored = bench.enqueue(&["b"])[0].id();
    bench.fetch_request();
    let reset = StoreFailure { kind: StoreErrorKind::Unavailable, reason: "reset".into() };
    bench.tell(Input::Fetched(Err(reset)));
    assert_eq!(deliver(&mut bench, 50), [restored]);
}
