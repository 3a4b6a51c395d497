//! When each message was published.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use outbox::{BatchLimits, FencingToken, Message, Ordering, Outcome, Publisher, Reason};
use uuid::Uuid;

/// A publisher that notes when another one has delivered a message for the first time.
pub(super) struct Stopwatch {
    inner: Arc<dyn Publisher>,
    published_at: Mutex<HashMap<Uuid, Instant>>,
}

impl Stopwatch {
    pub(super) fn around(inner: Arc<dyn Publisher>) -> Arc<Self> {
        Arc::new(Self { inner, published_at: Mutex::default() })
    }

    /// How many messages have been published.
    pub(super) fn count(&self) -> u64 {
        self.published_at.lock().unwrap_or_else(PoisonError::into_inner).len() as u64
    }

    /// The median of the time from commit to publish.
    pub(super) fn median(&self, committed_at: &HashMap<Uuid, Instant>) -> Option<Duration> {
        let published_at = self.published_at.lock().unwrap_or_else(PoisonError::into_inner);
        let mut latencies: Vec<_> = published_at
            .iter()
            // A relay can be faster than the commit's answer is on its way to the writer.
            .filter_map(|(id, at)| Some(at.saturating_duration_since(*committed_at.get(id)?)))
            .collect();
        latencies.sort_unstable();
        latencies.get(latencies.len() / 2).copied()
    }
}

#[async_trait]
impl Publisher for Stopwatch {
    fn ordering(&self) -> Ordering {
        self.inner.ordering()
    }

    fn limits(&self) -> BatchLimits {
        self.inner.limits()
    }

    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        self.publish_fenced(batch, &[], deadline, outcomes).await;
    }

    async fn publish_fenced(
        &self,
        batch: &[Arc<Message>],
        tokens: &[FencingToken],
        deadline: Instant,
        outcomes: &mut [Outcome],
    ) {
        self.inner.publish_fenced(batch, tokens, deadline, outcomes).await;
        let now = Instant::now();
        let mut published_at = self.published_at.lock().unwrap_or_else(PoisonError::into_inner);
        for (message, outcome) in batch.iter().zip(outcomes) {
            if *outcome == Outcome::Delivered {
                published_at.entry(message.id()).or_insert(now);
            }
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        self.inner.check().await
    }

    async fn close(&self) -> Result<(), Reason> {
        self.inner.close().await
    }
}
