//! The reference broker behind the trait of the core.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use async_trait::async_trait;
use outbox_core::{Message, Ordering, Outcome, Publisher, Reason};
use uuid::Uuid;

use super::Broker;

/// A [`Publisher`] into a [`Broker`] that several publishers may share.
#[derive(Debug)]
pub struct MemoryPublisher {
    broker: Arc<Mutex<Broker>>,
    ordering: Ordering,
    sender: u64,
    start: tokio::time::Instant,
    closed: AtomicBool,
    refusals: Mutex<HashMap<Uuid, Refusal>>,
}

#[derive(Debug, Clone)]
struct Refusal {
    outcome: Outcome,
    lasting: bool,
}

impl MemoryPublisher {
    /// A publisher with a broker of its own.
    pub fn new(ordering: Ordering) -> Self {
        Self::to(Arc::default(), ordering, 0)
    }

    /// A publisher to that broker, which records it as `sender`.
    pub fn to(broker: Arc<Mutex<Broker>>, ordering: Ordering, sender: u64) -> Self {
        let start = tokio::time::Instant::now();
        let (closed, refusals) = (AtomicBool::new(false), Mutex::default());
        Self { broker, ordering, sender, start, closed, refusals }
    }

    /// What was accepted. Don't hold it over an `await`.
    pub fn broker(&self) -> MutexGuard<'_, Broker> {
        self.broker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers the next publish of that message with `outcome` instead of accepting it.
    pub fn refuse(&self, id: Uuid, outcome: Outcome) {
        self.refusals().insert(id, Refusal { outcome, lasting: false });
    }

    /// Answers every publish of that message with `outcome`, until [`cure`](Self::cure).
    pub fn poison(&self, id: Uuid, outcome: Outcome) {
        self.refusals().insert(id, Refusal { outcome, lasting: true });
    }

    /// Accepts that message again.
    pub fn cure(&self, id: Uuid) {
        self.refusals().remove(&id);
    }

    fn refusal(&self, id: Uuid) -> Option<Outcome> {
        let mut refusals = self.refusals();
        let refusal = refusals.get(&id)?.clone();
        if !refusal.lasting {
            refusals.remove(&id);
        }
        Some(refusal.outcome)
    }

    fn refusals(&self) -> MutexGuard<'_, HashMap<Uuid, Refusal>> {
        self.refusals.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Publisher for MemoryPublisher {
    fn ordering(&self) -> Ordering {
        self.ordering
    }

    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        if self.closed.load(SeqCst) {
            return outcomes.fill(Outcome::Unavailable(closed()));
        }
        if Instant::now() >= deadline {
            return;
        }
        let mut stopped = HashSet::new();
        for (message, outcome) in batch.iter().zip(outcomes) {
            let lane = message.key().map(|key| (message.topic(), key));
            let refusal = self.refusal(message.id());
            *outcome = if lane.is_some_and(|lane| stopped.contains(&lane)) {
                Outcome::Failed(Reason::new("an earlier message of its key was not accepted"))
            } else if let Some(refusal) = refusal {
                if self.ordering == Ordering::PrefixPerKey {
                    stopped.extend(lane);
                }
                refusal
            } else {
                self.broker().accept(self.start.elapsed(), self.sender, message.clone());
                Outcome::Delivered
            };
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        if self.closed.load(SeqCst) { Err(closed()) } else { Ok(()) }
    }

    async fn close(&self) -> Result<(), Reason> {
        self.closed.store(true, SeqCst);
        Ok(())
    }
}

fn closed() -> Reason {
    Reason::new("the publisher is closed")
}
