//! Messages that the broker doesn't take.

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
            return assert!(proof.is_some(), "what it keeps in a failure is proved nowhere");
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
    let mut first_arrivals = broker.arrived("run").await;
    if prefix {
        let mut seen = std::collections::HashSet::new();
        first_arrivals.retain(|id| seen.insert(*id));
        assert_eq!(first_arrivals, ids(&run), "in their order");
    }
    let arrived = ids(&broker.harness.arrived().await);
    assert!(batch.iter().all(|message| arrived.contains(&message.id())));
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
