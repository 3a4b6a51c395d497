//! Batches that nothing is wrong with.

use std::collections::BTreeSet;

use outbox_core::Outcome;

use super::Fixture;
use super::fixture::{ids, publish};

pub async fn each_message_has_its_outcome(broker: &Fixture) {
    let sent: Vec<_> = (0..20).map(|n| broker.message(&format!("key-{n}"))).collect();
    broker.deliver(&sent).await;
    let mut arrived = ids(&broker.harness.arrived().await);
    arrived.sort_unstable();
    let mut expected = ids(&sent);
    expected.sort_unstable();
    assert_eq!(arrived, expected, "each once");
}

pub async fn an_empty_batch_is_nothing(broker: &Fixture) {
    broker.deliver(&[]).await;
    assert_eq!(broker.harness.arrived().await, []);
}

pub async fn a_full_batch_is_taken(broker: &Fixture) {
    let limits = broker.publisher.limits();
    assert!(limits.messages >= 1);
    let size = broker.message("key-1000").size();
    let count = limits.messages.min(limits.bytes / size).clamp(1, 1000);
    let sent: Vec<_> = (0..count).map(|n| broker.message(&format!("key-{n:04}"))).collect();
    broker.deliver(&sent).await;
    let arrived: BTreeSet<_> = ids(&broker.harness.arrived().await).into_iter().collect();
    assert_eq!(arrived, ids(&sent).into_iter().collect());
}

pub async fn a_key_keeps_its_order_in_a_batch(broker: &Fixture) {
    // The relay gives runs only to publishers that keep them; a lane is one message elsewhere.
    if broker.publisher.ordering() != outbox_core::Ordering::PrefixPerKey {
        return a_key_keeps_its_order_over_batches(broker).await;
    }
    let sent: Vec<_> = (0..60).map(|n| broker.message(["a", "b", "c"][n % 3])).collect();
    broker.deliver(&sent).await;
    for (n, key) in ["a", "b", "c"].into_iter().enumerate() {
        let expected: Vec<_> = ids(&sent).into_iter().skip(n).step_by(3).collect();
        assert_eq!(broker.arrived(key).await, expected);
    }
}

pub async fn a_key_keeps_its_order_over_batches(broker: &Fixture) {
    let mut expected = [Vec::new(), Vec::new()];
    for _ in 0..10 {
        let sent = [broker.message("a"), broker.message("b")];
        broker.deliver(&sent).await;
        expected[0].push(sent[0].id());
        expected[1].push(sent[1].id());
    }
    assert_eq!([broker.arrived("a").await, broker.arrived("b").await], expected);
}

pub async fn several_calls_go_on_at_once(broker: &Fixture) {
    let calls = (0..5).map(|call| {
        let sent: Vec<_> = (0..10).map(|n| broker.message(&format!("key-{call}-{n}"))).collect();
        let publisher = broker.publisher.clone();
        tokio::spawn(async move { (publish(&*publisher, &sent).await, sent) })
    });
    let mut expected = BTreeSet::new();
    for call in calls.collect::<Vec<_>>() {
        let (outcomes, sent) = call.await.unwrap();
        assert_eq!(outcomes, vec![Outcome::Delivered; sent.len()]);
        expected.extend(ids(&sent));
    }
    let arrived = ids(&broker.harness.arrived().await);
    assert_eq!(arrived.len(), expected.len());
    assert_eq!(BTreeSet::from_iter(arrived), expected);
}

/// Retrying is the relay's, and a publisher doesn't remember. A broker may drop what it has seen:
/// it answers that it has it.
pub async fn a_second_publish_sends_again(broker: &Fixture) {
    let sent = broker.messages("k", 1);
    broker.deliver(&sent).await;
    broker.deliver(&sent).await;
    let arrived = broker.arrived("k").await;
    assert!(!arrived.is_empty() && arrived.len() <= 2);
    assert!(arrived.iter().all(|id| *id == sent[0].id()), "under the same id");
}

pub async fn a_publisher_that_works_says_so(broker: &Fixture) {
    assert_eq!(broker.publisher.check().await, Ok(()));
    broker.deliver(&broker.messages("k", 1)).await;
    assert_eq!(broker.publisher.check().await, Ok(()));
}
