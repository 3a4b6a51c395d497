//! Which call fails how.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use fastrand::Rng;

/// Decides which calls go wrong, and remembers.
#[derive(Debug)]
pub struct Injector<F>(Mutex<State<F>>);

/// A call that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Call {
    /// [`Store::lease`](outbox_core::Store::lease)
    Lease,
    /// [`Store::fetch`](outbox_core::Store::fetch)
    Fetch,
    /// [`Store::reread`](outbox_core::Store::reread)
    Reread,
    /// [`Store::settle`](outbox_core::Store::settle)
    Settle,
    /// [`Publisher::publish`](outbox_core::Publisher::publish)
    Publish,
}

/// A fault that was injected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection<F> {
    /// Into which call.
    pub call: Call,
    /// How it went wrong.
    pub fault: F,
    /// How many partitions, lanes, rows or messages the call was about.
    pub size: usize,
}

#[derive(Debug)]
struct State<F> {
    scripted: VecDeque<(Call, F)>,
    odds: Vec<(f64, F)>,
    rng: Rng,
    injected: Vec<Injection<F>>,
}

impl<F: Copy> Injector<F> {
    /// Injects nothing until told to; `seed` is that of the dice.
    pub fn new(seed: u64) -> Self {
        let (scripted, odds, injected) = (VecDeque::new(), Vec::new(), Vec::new());
        Self(Mutex::new(State { scripted, odds, rng: Rng::with_seed(seed), injected }))
    }

    /// The next such call goes wrong, after those scripted before.
    pub fn next(&self, call: Call, fault: F) {
        self.state().scripted.push_back((call, fault));
    }

    /// From now on every call goes wrong like this with that probability. Of several faults the
    /// one that was added first wins.
    pub fn often(&self, probability: f64, fault: F) {
        self.state().odds.push((probability, fault));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        let mut state = self.state();
        state.scripted.clear();
        state.odds.clear();
    }

    /// What went wrong so far, in order.
    pub fn injected(&self) -> Vec<Injection<F>> {
        self.state().injected.clone()
    }

    pub(super) fn draw(&self, call: Call, size: usize) -> Option<F> {
        let mut state = self.state();
        let state = &mut *state;
        let scripted = state.scripted.iter().position(|(scripted, _)| *scripted == call);
        let fault = match scripted.and_then(|at| state.scripted.remove(at)) {
            Some((_, fault)) => fault,
            None => state.odds.iter().find(|(odds, _)| state.rng.f64() < *odds)?.1,
        };
        state.injected.push(Injection { call, fault, size });
        Some(fault)
    }

    fn state(&self) -> MutexGuard<'_, State<F>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
