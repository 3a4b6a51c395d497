//! Wakes relays in the same process.

use std::sync::Arc;

use tokio::sync::watch;

/// Tells relays of this process that something was committed, so that they look at once instead
/// of at their next poll. Cheap to clone; losing a wake-up costs a poll interval, never a message.
#[derive(Debug, Clone)]
pub struct Waker(Arc<watch::Sender<u64>>);

impl Waker {
    /// A waker that nobody listens to yet.
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(0)))
    }

    /// Wakes every listening relay. Wake-ups that come faster than relays look are merged.
    pub fn wake(&self) {
        self.0.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Wakes them when the guard is dropped. Held while a transaction commits, it wakes them even if
    /// that future is dropped midway, when whether it committed is unknown.
    pub fn wake_on_drop(&self) -> WakeOnDrop {
        WakeOnDrop(self.clone())
    }

    pub(crate) fn listen(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }
}

/// Wakes relays when it is dropped; made by [`Waker::wake_on_drop`].
#[derive(Debug)]
#[must_use = "it wakes as soon as it is dropped"]
pub struct WakeOnDrop(Waker);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.wake();
    }
}

impl Default for Waker {
    fn default() -> Self {
        Self::new()
    }
}
