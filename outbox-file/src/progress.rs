//! How far a publish has come: shared by the future that waits and the thread that writes.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use outbox_core::{Outcome, Reason};

/// What the thread that writes has begun and done. The lock is never held while anything blocks.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<State>);

#[derive(Debug, Default, Clone, Copy)]
struct State {
    /// Nobody waits any more: nothing new is begun.
    given_up: bool,
    begun: usize,
    delivered: usize,
}

impl Progress {
    /// Before bytes of the first `count` messages are written. They must not be if this says no.
    pub(crate) fn begin(&self, count: usize) -> bool {
        let mut state = self.state();
        if !state.given_up {
            state.begun = count;
        }
        !state.given_up
    }

    /// The first `count` messages are where they belong.
    pub(crate) fn deliver(&self, count: usize) {
        self.state().delivered = count;
    }

    pub(crate) fn is_given_up(&self) -> bool {
        self.state().given_up
    }

    fn give_up(&self) -> State {
        let mut state = self.state();
        state.given_up = true;
        *state
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The outcomes of a publish. They are written when it is over, or as soon as it is dropped, by
/// what was true then: nothing is begun afterwards.
pub(crate) struct Outcomes<'a> {
    pub(crate) progress: Arc<Progress>,
    all: &'a mut [Outcome],
    failure: Option<Reason>,
}

impl<'a> Outcomes<'a> {
    pub(crate) fn new(all: &'a mut [Outcome]) -> Self {
        Self { progress: Arc::default(), all, failure: None }
    }

    /// Nothing that isn't delivered yet will be.
    pub(crate) fn fail(mut self, reason: Reason) {
        self.failure = Some(reason);
    }
}

impl Drop for Outcomes<'_> {
    fn drop(&mut self) {
        let State { begun, delivered, .. } = self.progress.give_up();
        let (done, rest) = self.all.split_at_mut(delivered);
        done.fill(Outcome::Delivered);
        if let Some(reason) = self.failure.take() {
            return rest.fill(Outcome::Unavailable(reason));
        }
        let (unknown, untouched) = rest.split_at_mut(begun.saturating_sub(delivered));
        unknown.fill(Outcome::Unknown);
        // What only waited for its turn is not to be blamed, whatever others have delivered.
        untouched.fill(Outcome::Throttled(Duration::ZERO));
    }
}
