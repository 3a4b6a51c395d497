//! What went wrong in a run, as its relays and their publishers saw it: so many duplicates may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use async_trait::async_trait;
use outbox::relay::Event;
use outbox::{
    BatchLimits, FencingToken, Message, Observer, Ordering, Outcome, Publisher, Reason, RelayConfig,
};
use outbox_testkit::history::Bounds;

#[derive(Clone, Default)]
pub(crate) struct Watch(Arc<Counts>);

#[derive(Default)]
struct Counts {
    unknown: AtomicU64,
    undelivered: AtomicU64,
    disturbances: AtomicU64,
}

impl Watch {
    /// A publisher whose outcomes are counted.
    pub(crate) fn over(&self, publisher: Arc<dyn Publisher>) -> Arc<dyn Publisher> {
        Arc::new(Watched { publisher, watch: self.clone() })
    }

    /// How often a message was sent and not confirmed.
    pub(crate) fn undelivered(&self) -> u64 {
        self.0.undelivered.load(Relaxed)
    }

    /// Each publish without an answer may have made a duplicate; a relay that lost a partition, or
    /// couldn't settle, publishes again what was under way.
    pub(crate) fn bounds(&self) -> Bounds {
        Bounds {
            window: RelayConfig::default().window_messages as u64,
            disturbances: self.0.disturbances.load(Relaxed),
            unknown: self.0.unknown.load(Relaxed),
        }
    }
}

impl Observer for Watch {
    fn observe(&self, event: &Event) {
        if matches!(event, Event::Lost(_) | Event::Expired(_) | Event::StoreFailed(..)) {
            self.0.disturbances.fetch_add(1, Relaxed);
        }
    }
}

struct Watched {
    publisher: Arc<dyn Publisher>,
    watch: Watch,
}

/// Counts at the end of a call, also if it is given up.
struct Counted<'c> {
    outcomes: &'c mut [Outcome],
    counts: &'c Counts,
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        let of = |kind: fn(&Outcome) -> bool| {
            self.outcomes.iter().filter(|outcome| kind(outcome)).count() as u64
        };
        let unknown = of(|outcome| *outcome == Outcome::Unknown);
        self.counts.unknown.fetch_add(unknown, Relaxed);
        let undelivered = of(|outcome| *outcome != Outcome::Delivered);
        self.counts.undelivered.fetch_add(undelivered, Relaxed);
    }
}

#[async_trait]
impl Publisher for Watched {
    fn ordering(&self) -> Ordering {
        self.publisher.ordering()
    }

    fn limits(&self) -> BatchLimits {
        self.publisher.limits()
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
        let counted = Counted { outcomes, counts: &self.watch.0 };
        self.publisher.publish_fenced(batch, tokens, deadline, counted.outcomes).await;
    }

    async fn check(&self) -> Result<(), Reason> {
        self.publisher.check().await
    }

    async fn close(&self) -> Result<(), Reason> {
        self.publisher.close().await
    }
}
