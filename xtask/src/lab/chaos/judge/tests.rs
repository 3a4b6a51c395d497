//! A judge who finds nothing proves nothing: each broken promise is put before it.

use outbox_core::Message;

use super::*;

/// Five transactions of one key, of which the third is rolled back, and all is well.
fn good() -> Evidence {
    let written: Vec<_> = (1..=5).map(|number| written(number, number != 3)).collect();
    let arrived = written.iter().filter(|written| written.ended == Ended::Committed);
    let arrived = arrived.map(|written| written.messages[0].id()).collect();
    Evidence {
        written,
        ledger: [1, 2, 4, 5].into(),
        arrived,
        open: "orders".into(),
        ..Evidence::default()
    }
}

fn written(number: i64, commits: bool) -> Written {
    let message = Message::json("orders", &number).key("k").build().unwrap();
    let begun = u64::try_from(number * 2).unwrap();
    let ended = if commits { Ended::Committed } else { Ended::RolledBack };
    Written { number, messages: vec![message], begun, ended, end: begun + 1 }
}

fn id(evidence: &Evidence, number: usize) -> Uuid {
    evidence.written[number - 1].messages[0].id()
}

/// What is broken once something has been done to what was good.
fn broken(spoil: impl FnOnce(&mut Evidence)) -> Vec<String> {
    let mut evidence = good();
    spoil(&mut evidence);
    judge(&evidence).broken
}

#[track_caller]
fn notices(spoil: impl FnOnce(&mut Evidence), what: &str) {
    let broken = broken(spoil);
    assert!(broken.len() == 1 && broken[0].starts_with(what), "{broken:?}");
}

#[test]
fn what_is_well_passes() {
    assert_eq!(broken(|_| {}), Vec::<String>::new());
}

#[test]
fn a_lost_message_is_noticed() {
    notices(|run| _ = run.arrived.remove(1), "lost: ");
}

#[test]
fn a_ghost_is_noticed() {
    notices(|run| run.arrived.push(id(run, 3)), "ghost: ");
    notices(|run| run.arrived.push(Uuid::now_v7()), "ghost: ");
}

#[test]
fn two_messages_in_the_wrong_order_are_noticed() {
    notices(|run| run.arrived.swap(0, 1), "order: ");
}

#[test]
fn a_duplicate_too_many_is_noticed() {
    notices(|run| run.arrived.push(id(run, 1)), "duplicates: 1");
    // One that a fault explains is none too many.
    let explained = |run: &mut Evidence| {
        run.arrived.push(id(run, 1));
        run.told.unconfirmed = 1;
    };
    assert_eq!(broken(explained), Vec::<String>::new());
    let killed = |run: &mut Evidence| {
        run.arrived.push(id(run, 1));
        run.kills = 1;
    };
    assert_eq!(broken(killed), Vec::<String>::new());
}

#[test]
fn what_stays_behind_is_noticed() {
    notices(|run| run.pending = 1, "stuck: 1");
}

#[test]
fn a_stale_verdict_that_was_written_is_noticed() {
    notices(|run| run.stale.applied = 1, "1 stale");
}

#[test]
fn a_message_that_an_outage_buried_is_noticed() {
    let buried = |run: &mut Evidence| {
        let id = run.arrived.remove(0);
        run.dead.push(Dead { id, topic: "orders".into(), error: "no answer".into() });
    };
    notices(buried, "1 messages that nobody refused");
}

#[test]
fn a_commit_that_the_database_lost_is_noticed() {
    notices(|run| _ = run.ledger.remove(&5), "1 transactions that were committed");
    notices(|run| _ = run.ledger.insert(3), "1 transactions that were rolled back");
}

#[test]
fn the_ledger_says_what_a_writer_does_not_know() {
    let unknown = |run: &mut Evidence| run.written[4].ended = Ended::Unknown;
    assert_eq!(broken(unknown), Vec::<String>::new());
    let rolled_back = |run: &mut Evidence| {
        unknown(run);
        run.ledger.remove(&5);
    };
    notices(rolled_back, "ghost: ");
}

#[test]
fn panics_and_whatever_else_went_wrong_are_noticed() {
    notices(|run| run.told.panics = 2, "the relays panicked");
    notices(|run| run.wrong.push("a relay doesn't end".into()), "a relay doesn't end");
}
