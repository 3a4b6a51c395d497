//! What is to happen, in the order of virtual time.

use std::cmp::{Ordering, Reverse};
use std::collections::BinaryHeap;
use std::collections::binary_heap::PeekMut;
use std::time::Duration;

use outbox_core::relay::{BatchId, Input, StoreCall};

use super::faults::Fault;
use super::store::Call;

/// Something that happens at its time.
#[derive(Debug)]
pub(super) enum Happening {
    /// The next step of a writer's transaction.
    Write(usize),
    /// A store call takes effect; its answer travels back unless it was lost.
    Effect {
        relay: usize,
        run: u64,
        call: Box<Call>,
        answered: bool,
    },
    /// An input reaches a relay.
    Arrive {
        relay: usize,
        run: u64,
        input: Box<Input>,
    },
    /// A message of a batch reaches the broker.
    Send {
        relay: usize,
        run: u64,
        batch: BatchId,
        index: usize,
    },
    /// The publisher's call ends.
    Returned {
        relay: usize,
        run: u64,
        batch: BatchId,
    },
    /// A service goes on writing.
    Heartbeat,
    Fault(Fault),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    heap: BinaryHeap<Reverse<Scheduled>>,
    scheduled: u64,
}

#[derive(Debug)]
struct Scheduled {
    at: Duration,
    /// Ties go in the order of scheduling.
    number: u64,
    what: Happening,
}

impl Queue {
    pub(super) fn push(&mut self, at: Duration, what: Happening) {
        self.scheduled += 1;
        self.heap.push(Reverse(Scheduled { at, number: self.scheduled, what }));
    }

    /// How many happenings there were so far.
    pub(super) fn scheduled(&self) -> u64 {
        self.scheduled
    }

    pub(super) fn next_at(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(next)| next.at)
    }

    /// What happens at that time, which is not later than the next.
    pub(super) fn pop_at(&mut self, at: Duration) -> Option<Happening> {
        let next = self.heap.peek_mut().filter(|next| next.0.at == at)?;
        Some(PeekMut::pop(next).0.what)
    }
}

impl Ord for Scheduled {
    fn cmp(&self, other: &Self) -> Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl PartialOrd for Scheduled {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Scheduled {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Scheduled {}

/// The index of a kind of call, as a relay has one of each under way.
pub(super) fn slot(call: StoreCall) -> usize {
    match call {
        StoreCall::Lease => 0,
        StoreCall::Read => 1,
        StoreCall::Settle => 2,
    }
}
