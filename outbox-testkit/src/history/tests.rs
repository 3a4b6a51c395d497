use super::*;

/// A run told by short names: message `n` has the id `n`.
#[derive(Default)]
struct Run(History);

impl Run {
    fn insert(mut self, transaction: u64, id: u128, key: &str) -> Self {
        let message =
            Message::bytes("orders", "payload").id(Uuid::from_u128(id)).key(key).build().unwrap();
        self.0.inserting(transaction, &message);
        self
    }

    fn commit(mut self, transaction: u64) -> Self {
        self.0.committed(transaction);
        self
    }

    /// Each in a transaction of its own, one after the other, all of one key.
    fn sequence(self, ids: impl IntoIterator<Item = u128>) -> Self {
        ids.into_iter().fold(self, |run, id| {
            let transaction = u64::try_from(id).unwrap();
            run.insert(transaction, id, "k").commit(transaction)
        })
    }

    fn accept(mut self, ids: impl IntoIterator<Item = u128>) -> Self {
        ids.into_iter().for_each(|id| self.0.accepted(Uuid::from_u128(id)));
        self
    }

    fn with(mut self, tell: impl FnOnce(&mut History)) -> Self {
        tell(&mut self.0);
        self
    }

    fn violations(&self) -> Vec<Violation> {
        self.within(&Bounds::NO_FAULTS)
    }

    fn within(&self, bounds: &Bounds) -> Vec<Violation> {
        self.0.check(bounds).violations
    }
}

const fn id(n: u128) -> Uuid {
    Uuid::from_u128(n)
}

fn order(earlier: (u128, usize), later: (u128, usize)) -> Violation {
    Violation::Order {
        topic: "orders".into(),
        key: Some("k".into()),
        earlier: (id(earlier.0), earlier.1),
        later: (id(later.0), later.1),
    }
}

#[test]
fn what_arrives_once_in_order_passes() {
    let run = Run::default().sequence(1..=3).accept(1..=3);
    let report = run.0.check(&Bounds::NO_FAULTS);
    report.assert_passed();
    assert_eq!((report.committed, report.delivered, report.duplicates), (3, 3, 0));
}

#[test]
fn loss_is_a_committed_message_that_neither_arrived_nor_died() {
    let run = Run::default().sequence([1, 2]).accept([1]);
    assert_eq!(run.violations(), [Violation::Lost { id: id(2), key: Some("k".into()) }]);
    let died = run.with(|history| history.dead_lettered(id(2)));
    assert_eq!(died.violations(), []);
}

#[test]
fn what_was_rolled_back_or_left_open_is_not_lost() {
    let run = Run::default().insert(1, 1, "k").insert(2, 2, "k").with(|h| h.rolled_back(1));
    assert_eq!(run.violations(), []);
}

#[test]
fn a_ghost_was_rolled_back_or_left_open_or_never_inserted() {
    let run = Run::default().insert(1, 1, "k").insert(2, 2, "k").with(|h| h.rolled_back(1));
    let run = run.accept([1, 2, 2, 3]);
    let ghost = |n, position, kind| Violation::Ghost { id: id(n), position: Some(position), kind };
    let found = run.within(&Bounds { unknown: 1, ..Bounds::NO_FAULTS });
    assert_eq!(
        found,
        [
            ghost(1, 0, Ghost::NotCommitted),
            ghost(2, 1, Ghost::NotCommitted),
            ghost(3, 3, Ghost::NeverInserted)
        ]
    );
}

#[test]
fn a_dead_letter_can_be_a_ghost() {
    let run = Run::default().insert(1, 1, "k").with(|h| h.dead_lettered(id(1)));
    let ghost = Violation::Ghost { id: id(1), position: None, kind: Ghost::NotCommitted };
    assert_eq!(run.violations(), [ghost]);
}

#[test]
fn a_commit_of_unknown_end_may_be_seen_or_not() {
    let run = Run::default().insert(1, 1, "k").with(|history| history.commit_unknown(1));
    assert_eq!(run.violations(), []);
    assert_eq!(run.accept([1]).violations(), []);
}

#[test]
fn order_is_broken_when_a_later_transaction_arrives_first() {
    let run = Run::default().sequence(1..=3).accept([1, 3, 2]);
    assert_eq!(run.violations(), [order((2, 2), (3, 1))]);
}

#[test]
fn order_is_that_of_first_arrivals() {
    let once_more = Bounds { unknown: 1, ..Bounds::NO_FAULTS };
    let repeated = Run::default().sequence([1, 2]).accept([1, 2, 1]);
    assert_eq!(repeated.within(&once_more), []);
    let overtaken = Run::default().sequence([1, 2]).accept([2, 1, 2]);
    assert_eq!(overtaken.within(&once_more), [order((1, 1), (2, 0))]);
}

#[test]
fn transactions_that_overlap_have_no_order() {
    let overlap = Run::default().insert(1, 1, "k").insert(2, 2, "k").commit(2).commit(1);
    assert_eq!(overlap.accept([2, 1]).violations(), []);
    let together = Run::default().insert(1, 1, "k").insert(1, 2, "k").commit(1);
    assert_eq!(together.accept([2, 1]).violations(), []);
}

#[test]
fn an_overlap_does_not_hide_a_third() {
    // 1 overlaps both 2 and 3, but 2 ended before 3 began.
    let run = Run::default().insert(1, 1, "k").sequence([2, 3]).commit(1);
    assert_eq!(run.accept([3, 1, 2]).violations(), [order((2, 2), (3, 0))]);
}

#[test]
fn other_keys_have_no_order() {
    let run = Run::default().insert(1, 1, "a").commit(1).insert(2, 2, "b").commit(2);
    assert_eq!(run.accept([2, 1]).violations(), []);
}

#[test]
fn other_destinations_have_no_order() {
    let mut history = History::new();
    for (n, topic) in [(1_u32, "orders"), (2, "invoices")] {
        history.record(Entry {
            id: id(n.into()),
            topic: topic.into(),
            key: Some("k".into()),
            inserted: (2 * n).into(),
            fate: Fate::Committed((2 * n + 1).into()),
        });
    }
    history.accepted(id(2));
    history.accepted(id(1));
    history.check(&Bounds::NO_FAULTS).assert_passed();
}

#[test]
fn dead_letters_leave_the_order_of_their_key() {
    let run = Run::default().sequence([1, 2]).accept([2, 1]);
    let redriven = run.with(|history| {
        history.dead_lettered(id(1));
        history.redriven(id(1));
    });
    assert_eq!(redriven.violations(), []);
}

#[test]
fn duplicates_are_none_without_faults_and_bounded_with() {
    let run = Run::default().sequence([1, 2]).accept([1, 2, 1, 1, 2]);
    let too_many = |allowed| Violation::Duplicates {
        found: 3,
        allowed,
        messages: vec![(id(1), 2), (id(2), 1)],
    };
    assert_eq!(run.violations(), [too_many(0)]);
    assert_eq!(run.within(&Bounds { window: 1, disturbances: 1, unknown: 1 }), [too_many(2)]);
    assert_eq!(run.within(&Bounds { window: 1, disturbances: 2, unknown: 1 }), []);
}

#[test]
fn a_redrive_explains_one_more_arrival() {
    let run = Run::default().sequence([1]).accept([1, 1]).with(|h| h.dead_lettered(id(1)));
    assert_eq!(run.violations().len(), 1);
    assert_eq!(run.with(|history| history.redriven(id(1))).violations(), []);
}

#[test]
fn what_is_still_pending_is_stuck() {
    let run = Run::default().sequence([1]).accept([1]).with(|history| history.remaining(1));
    assert_eq!(run.violations(), [Violation::Stuck { pending: 1 }]);
}

#[test]
fn reports_name_messages_keys_and_positions_in_bounds() {
    let run = Run::default().sequence(1..=60).accept((1..=60).rev());
    let shown = run.0.check(&Bounds::NO_FAULTS).to_string();
    assert!(shown.starts_with("60 committed, 60 delivered, 0 dead-lettered, 0 duplicates: 59"));
    let first = format!("order: {} arrived at 59, after {} at 58", id(1), id(2));
    assert!(shown.contains(&first) && shown.contains("key \"k\""), "{shown}");
    assert!(shown.ends_with("and 39 more"), "{shown}");
    assert!(!shown.contains("payload"));
}

#[test]
fn tens_of_thousands_of_messages_are_swept_not_compared() {
    let count = 50_000;
    let started = std::time::Instant::now();
    let run = Run::default().sequence(1..=count).accept(1..=count);
    assert_eq!(run.violations(), []);
    // Comparing all pairs takes minutes.
    assert!(started.elapsed() < std::time::Duration::from_secs(20));
}
