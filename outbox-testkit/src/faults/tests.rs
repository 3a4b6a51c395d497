use std::sync::Arc;
use std::time::{Duration, Instant};

use outbox_core::{
    LeaseRequest, Message, Ordering, Outcome, Partition, Publisher, RelayId, Store, StoreError,
    StoreErrorKind, Visibility,
};
use uuid::Uuid;

use super::*;
use crate::memory::{MemoryPublisher, MemoryStore};

const RELAY: RelayId = RelayId(Uuid::nil());

fn store() -> (MemoryStore, Arc<FaultyStore>) {
    let memory = MemoryStore::new(4, Visibility::Ordered);
    (memory.clone(), Arc::new(FaultyStore::new(Arc::new(memory), 7)))
}

async fn take(store: &FaultyStore) -> Result<(), StoreError> {
    let request = LeaseRequest {
        relay: RELAY,
        ttl: Duration::from_mins(1),
        take: vec![Partition(0)],
        release: Vec::new(),
        sick: false,
        leaving: false,
    };
    store.lease(&request).await.map(drop)
}

fn taken(memory: &MemoryStore) -> u64 {
    memory.database().counters().leases_taken
}

fn publisher() -> (Arc<MemoryPublisher>, Arc<FaultyPublisher>) {
    let memory = Arc::new(MemoryPublisher::new(Ordering::PrefixPerKey));
    (memory.clone(), Arc::new(FaultyPublisher::new(memory, 7)))
}

fn batch() -> Vec<Arc<Message>> {
    (0..3).map(|n| Arc::new(Message::bytes("t", "").key(n).build().unwrap())).collect()
}

/// The outcomes as the caller sees them, who waits a second.
async fn publish(publisher: &FaultyPublisher) -> Vec<Outcome> {
    let mut outcomes = vec![Outcome::Unknown; 3];
    let deadline = Instant::now() + Duration::from_mins(1);
    let batch = batch();
    let publish = publisher.publish(&batch, deadline, &mut outcomes);
    let _ = tokio::time::timeout(Duration::from_secs(1), publish).await;
    outcomes
}

#[tokio::test]
async fn a_call_that_fails_has_no_effect() {
    let (memory, store) = store();
    store.faults().next(Call::Lease, StoreFault::Fail);
    assert_eq!(take(&store).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_eq!(taken(&memory), 0);
    take(&store).await.unwrap();
    assert_eq!(taken(&memory), 1);
}

#[tokio::test]
async fn a_lost_reply_has_one() {
    let (memory, store) = store();
    store.faults().next(Call::Lease, StoreFault::LoseReply);
    assert_eq!(take(&store).await.unwrap_err().kind(), StoreErrorKind::Unavailable);
    assert_eq!(taken(&memory), 1);
}

#[tokio::test]
async fn a_panic_comes_after_the_effect() {
    let (memory, store) = store();
    store.faults().next(Call::Lease, StoreFault::Panic);
    let panicking = store.clone();
    let panicked = tokio::spawn(async move { take(&panicking).await }).await;
    assert!(panicked.unwrap_err().is_panic());
    assert_eq!(taken(&memory), 1);
}

#[tokio::test(start_paused = true)]
async fn a_delay_is_waited_for_before_the_effect() {
    let (memory, store) = store();
    store.faults().next(Call::Lease, StoreFault::Delay(Duration::from_secs(2)));
    let impatient = tokio::time::timeout(Duration::from_secs(1), take(&store)).await;
    assert!(impatient.is_err());
    assert_eq!(taken(&memory), 0);
    store.faults().next(Call::Lease, StoreFault::Delay(Duration::from_secs(2)));
    take(&store).await.unwrap();
    assert_eq!(taken(&memory), 1);
}

#[tokio::test]
async fn a_script_waits_for_its_call() {
    let (_, store) = store();
    store.faults().next(Call::Settle, StoreFault::Fail);
    store.faults().next(Call::Lease, StoreFault::LoseReply);
    store.faults().next(Call::Lease, StoreFault::Fail);
    assert!(take(&store).await.is_err());
    assert!(take(&store).await.is_err());
    take(&store).await.unwrap();
    let injection = |fault| Injection { call: Call::Lease, fault, size: 1 };
    let expected = [StoreFault::LoseReply, StoreFault::Fail].map(injection);
    assert_eq!(store.faults().injected(), expected);
}

#[tokio::test]
async fn dice_are_repeatable_until_healed() {
    let roll = async || {
        let (_, store) = store();
        store.faults().often(0.3, StoreFault::Fail);
        let mut rolls = Vec::new();
        for _ in 0..100 {
            rolls.push(take(&store).await.is_ok());
        }
        store.faults().heal();
        for _ in 0..100 {
            take(&store).await.unwrap();
        }
        rolls
    };
    let rolls = roll().await;
    let fine = rolls.iter().filter(|ok| **ok).count();
    assert!((50..90).contains(&fine), "{fine} of 100");
    assert_eq!(roll().await, rolls);
}

#[tokio::test(start_paused = true)]
async fn a_publish_goes_wrong_in_each_way() {
    let unknown = || vec![Outcome::Unknown; 3];
    let delivered = || vec![Outcome::Delivered; 3];
    let cut = || vec![Outcome::Delivered, Outcome::Delivered, Outcome::Unknown];
    for (fault, expected, accepted) in [
        (PublisherFault::LoseReply, unknown(), 3),
        (PublisherFault::Stall, delivered(), 3),
        (PublisherFault::Delay(Duration::from_millis(500)), delivered(), 3),
        (PublisherFault::Delay(Duration::from_secs(2)), unknown(), 0),
        (PublisherFault::Duplicate, delivered(), 6),
        (PublisherFault::Cut(2), cut(), 2),
        (PublisherFault::Cut(9), delivered(), 3),
    ] {
        let (memory, publisher) = publisher();
        publisher.faults().next(Call::Publish, fault);
        assert_eq!(publish(&publisher).await, expected, "{fault:?}");
        assert_eq!(memory.broker().log().len(), accepted, "{fault:?}");
        assert_eq!(publish(&publisher).await, delivered(), "after {fault:?}");
        let injection = Injection { call: Call::Publish, fault, size: 3 };
        assert_eq!(publisher.faults().injected(), [injection]);
    }
}

#[tokio::test]
async fn an_outage_sends_nothing() {
    let (memory, publisher) = publisher();
    publisher.faults().often(1.0, PublisherFault::Fail);
    for _ in 0..3 {
        let outcomes = publish(&publisher).await;
        assert!(outcomes.iter().all(|outcome| matches!(outcome, Outcome::Unavailable(_))));
    }
    assert_eq!(memory.broker().log().len(), 0);
}

#[tokio::test]
async fn a_panicking_publish_has_sent() {
    let (memory, publisher) = publisher();
    publisher.faults().next(Call::Publish, PublisherFault::Panic);
    let panicking = publisher.clone();
    let panicked = tokio::spawn(async move { publish(&panicking).await }).await;
    assert!(panicked.unwrap_err().is_panic());
    assert_eq!(memory.broker().log().len(), 3);
}
