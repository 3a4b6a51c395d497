//! Messages that the broker doesn't take.

use std::process::Command;

use outbox_core::{Message, Ordering, Outcome};

use super::Fixture;
use super::fixture::ids;

pub async fn a_failure_in_the_middle_keeps_what_ordering_declares(broker: &Fixture) {
    let prefix = broker.publisher.ordering() == Ordering::PrefixPerKey;
    let mut run = broker.messages("run", 4);
    let others = [broker.message("before"), broker.message("after")];
    if !broker.harness.fail_next(&run[1]).await {
        let Some(topic) = broker.harness.refuse().await else {
            let proof = broker.harness.ordering_proved_by();
            let proof = proof.expect("what it keeps in a failure is proved nowhere");
            return assert!(is_test(proof), "`{proof}` is no test of this program");
        };
        run[1] = Message::bytes(topic, "payload").key("run").build().unwrap();
    }
    let mut batch = run.clone();
    batch.insert(1, others[0].clone());
    batch.push(others[1].clone());
    let outcomes = broker.publish(&batch).await;
    assert_ne!(outcomes[2], Outcome::Delivered, "it was to fail");
    let arrived = ids(&broker.harness.arrived().await);
    for (message, outcome) in batch.iter().zip(&outcomes) {
        let here = arrived.contains(&message.id());
        assert!(here || *outcome != Outcome::Delivered, "{outcome:?}, but it is not there");
    }
    assert!(!arrived.contains(&run[1].id()), "what was not accepted is not there");
    if prefix {
        let after = &run[2..];
        assert!(after.iter().all(|message| !arrived.contains(&message.id())), "no prefix");
        assert!(outcomes[3..5].iter().all(|outcome| *outcome != Outcome::Delivered));
    } else {
        let delivered = outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered).count();
        assert_eq!(delivered, batch.len() - 1, "each counts for itself: {outcomes:?}");
    }
    broker.harness.accept().await;
    // The relay sends again what was not delivered, and all of it arrives.
    let undelivered = batch.iter().zip(&outcomes).filter(|(_, o)| **o != Outcome::Delivered);
    let again: Vec<_> = undelivered.map(|(message, _)| message.clone()).collect();
    broker.deliver(&again).await;
    let arrived = broker.harness.arrived().await;
    assert!(ids(&batch).iter().all(|id| ids(&arrived).contains(id)));
    if prefix {
        // Readers see an order in each topic, and none between two.
        let of_run =
            |message: &&Message| (message.topic(), message.key()) == (run[0].topic(), run[0].key());
        let mut seen = std::collections::HashSet::new();
        let first = arrived.iter().filter(of_run).map(Message::id).filter(|id| seen.insert(*id));
        let sent = run.iter().filter(of_run).map(Message::id);
        assert_eq!(first.collect::<Vec<_>>(), sent.collect::<Vec<_>>(), "in their order");
    }
}

fn is_test(name: &str) -> bool {
    let mut program = Command::new(std::env::current_exe().unwrap());
    let listed = program.args(["--list", "--format=terse", "--exact", name]).output().unwrap();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    listed.lines().any(|line| line == format!("{name}: test"))
}

pub async fn what_is_too_large_is_rejected_alone(broker: &Fixture) {
    let Some(size) = broker.harness.too_large() else {
        // Without a limit the largest message that a table takes by default arrives.
        let large = broker.bytes(vec![7; 1024 * 1024]).key("large").build().unwrap();
        return broker.deliver(&[large]).await;
    };
    let limits = outbox_core::Limits { payload: size, ..outbox_core::Limits::default() };
    let large = broker.bytes(vec![7; size]).key("large").build_within(&limits).unwrap();
    let batch = [broker.message("before"), large, broker.message("after")];
    let outcomes = broker.publish(&batch).await;
    assert!(matches!(outcomes[1], Outcome::Rejected(_)), "{:?}", outcomes[1]);
    assert_eq!([&outcomes[0], &outcomes[2]], [&Outcome::Delivered; 2], "others are not affected");
    let arrived = ids(&broker.harness.arrived().await);
    assert!(!arrived.contains(&batch[1].id()));
}

#[cfg(test)]
mod tests {
    #[test]
    fn only_a_test_proves_something() {
        let this = "suite::publisher::failing::tests::only_a_test_proves_something";
        assert!(super::is_test(this) && !super::is_test("only_a_test_proves_something"));
    }
}
