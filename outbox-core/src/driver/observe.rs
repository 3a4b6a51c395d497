//! Who is told what the relay does.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::relay::{Event, StoreCall};

/// Is told of everything that happens in a relay, in order, on the relay's own task: it must
/// return soon.
pub trait Observer: Send + Sync {
    /// Something happened.
    fn observe(&self, event: &Event);
}

#[derive(Clone)]
pub(super) struct Observers(pub(super) Vec<Arc<dyn Observer>>);

impl Observers {
    pub(super) fn tell(&self, event: &Event) {
        for observer in &self.0 {
            // A relay doesn't end because somebody who watches it does.
            if catch_unwind(AssertUnwindSafe(|| observer.observe(event))).is_err() {
                tracing::error!("an observer panicked; the relay goes on");
            }
        }
    }
}

/// Whether a relay gets anywhere: it has reached the store lately. A relay that hangs, or lost
/// its database, is not ready, however alive its process looks.
#[derive(Debug, Clone)]
pub struct Health(Arc<Progress>);

#[derive(Debug)]
struct Progress {
    born: Instant,
    /// Milliseconds after `born` at which the store last answered, plus one; 0 is never.
    answered: AtomicU64,
    patience: Duration,
    /// One bit for each kind of call that fails now.
    failing: AtomicU8,
}

impl Health {
    pub(super) fn new(patience: Duration) -> Self {
        let answered = AtomicU64::new(0);
        let failing = AtomicU8::new(0);
        Self(Arc::new(Progress { born: Instant::now(), answered, patience, failing }))
    }

    pub(super) fn answered(&self) {
        let millis = u64::try_from(self.0.born.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.0.answered.store(millis + 1, Ordering::Relaxed);
    }

    pub(super) fn failing(&self, call: StoreCall, fails: bool) {
        let bit = 1 << call as u8;
        if fails {
            self.0.failing.fetch_or(bit, Ordering::Relaxed);
        } else {
            self.0.failing.fetch_and(!bit, Ordering::Relaxed);
        }
    }

    /// How long ago the store answered a call for leases; `None` if it never has.
    pub fn last_answer(&self) -> Option<Duration> {
        let answered = self.0.answered.load(Ordering::Relaxed).checked_sub(1)?;
        Some(self.0.born.elapsed().saturating_sub(Duration::from_millis(answered)))
    }

    /// The store has answered within the length of a lease, and neither reading nor settling
    /// fails.
    pub fn is_ready(&self) -> bool {
        let failing = self.0.failing.load(Ordering::Relaxed) != 0;
        !failing && self.last_answer().is_some_and(|ago| ago <= self.0.patience)
    }
}
