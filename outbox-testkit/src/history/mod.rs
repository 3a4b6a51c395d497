//! Judges a run from outside: what was committed against what arrived.
//!
//! A test tells a [`History`] what its writers did, what the broker accepted in which order and
//! what became dead letters, for any store, broker and mode. [`History::check`] then finds loss,
//! ghosts, disorder, duplicates that no fault explains, and messages that stayed behind.

mod check;
mod order;
mod report;
#[cfg(test)]
mod tests;

pub use report::{Ghost, Report, Violation};

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use outbox_core::Message;
use uuid::Uuid;

/// What happened in a run.
///
/// Writers are told of by events, in the order in which they happened: call
/// [`inserting`](Self::inserting) before the insert is sent and [`committed`](Self::committed)
/// after the commit was confirmed, then whatever order the checker demands was really there.
/// Ledgers that come with times of their own are given to [`record`](Self::record).
#[derive(Debug, Clone, Default)]
pub struct History {
    ledger: Vec<Entry>,
    index: HashMap<Uuid, usize>,
    open: HashMap<u64, Vec<usize>>,
    events: u64,
    accepted: Vec<Uuid>,
    dead: HashSet<Uuid>,
    redriven: HashMap<Uuid, u64>,
    parks: bool,
    remaining: u64,
}

/// What a ledger knows of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The message.
    pub id: Uuid,
    /// The destination that it is sent to.
    pub topic: Arc<str>,
    /// Its key.
    pub key: Option<Arc<str>>,
    /// A time no later than its insertion, on any clock that all entries share.
    pub inserted: u64,
    /// How its transaction ended.
    pub fate: Fate,
}

/// How a transaction ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It was committed, no later than at this time.
    Committed(u64),
    /// It was rolled back, or never ended: it must not be seen.
    RolledBack,
    /// Nobody knows, as the connection broke during the commit: it may be seen or not.
    Unknown,
}

/// How many duplicates the faults of a run explain: those in flight at each disturbance, and each
/// publish whose outcome was unknown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Bounds {
    /// The most messages that a relay had published and not yet settled.
    pub window: u64,
    /// Kills of relays, lost leases, and settlements that failed or whose reply was lost.
    pub disturbances: u64,
    /// Messages whose publish ended without an answer.
    pub unknown: u64,
}

impl Bounds {
    /// Without faults there are no duplicates.
    pub const NO_FAULTS: Self = Self { window: 0, disturbances: 0, unknown: 0 };

    /// The most duplicates that these explain.
    pub fn duplicates(&self) -> u64 {
        self.window.saturating_mul(self.disturbances).saturating_add(self.unknown)
    }
}

impl History {
    /// Nothing has happened.
    pub fn new() -> Self {
        Self::default()
    }

    /// A writer is about to insert a message in a transaction, by the caller's numbering.
    pub fn inserting(&mut self, transaction: u64, message: &Message) {
        let parts = message.parts();
        let entry = Entry {
            id: parts.id,
            topic: parts.topic.clone(),
            key: parts.key.clone(),
            inserted: self.next_event(),
            fate: Fate::RolledBack,
        };
        self.open.entry(transaction).or_default().push(self.ledger.len());
        self.record(entry);
    }

    /// The transaction was committed; the writer knows it.
    pub fn committed(&mut self, transaction: u64) {
        let fate = Fate::Committed(self.next_event());
        self.end(transaction, fate);
    }

    /// The transaction was rolled back, or its writer died before it asked for the commit.
    pub fn rolled_back(&mut self, transaction: u64) {
        self.end(transaction, Fate::RolledBack);
    }

    /// The writer asked for the commit and got no answer.
    pub fn commit_unknown(&mut self, transaction: u64) {
        self.end(transaction, Fate::Unknown);
    }

    /// Adds what a ledger says of one message.
    ///
    /// # Panics
    /// If the message is in the history already.
    pub fn record(&mut self, entry: Entry) {
        let known = self.index.insert(entry.id, self.ledger.len());
        assert!(known.is_none(), "message {} was recorded twice", entry.id);
        self.ledger.push(entry);
    }

    /// The broker accepted a message, after all those told of before.
    pub fn accepted(&mut self, id: Uuid) {
        self.accepted.push(id);
    }

    /// A message became a dead letter; from then on it has no order to keep.
    pub fn dead_lettered(&mut self, id: Uuid) {
        self.dead.insert(id);
    }

    /// A dead letter was put back: it may arrive once more, at any time.
    pub fn redriven(&mut self, id: Uuid) {
        *self.redriven.entry(id).or_default() += 1;
    }

    /// So many messages were still pending when the time to recover was over.
    pub fn remaining(&mut self, pending: u64) {
        self.remaining = pending;
    }

    /// Judges all of it.
    pub fn check(&self, bounds: &Bounds) -> Report {
        check::check(self, bounds)
    }

    fn next_event(&mut self) -> u64 {
        self.events += 1;
        self.events
    }

    fn end(&mut self, transaction: u64, fate: Fate) {
        for at in self.open.remove(&transaction).unwrap_or_default() {
            self.ledger[at].fate = fate;
        }
    }

    fn entry(&self, id: Uuid) -> Option<&Entry> {
        self.index.get(&id).map(|at| &self.ledger[*at])
    }

    /// Dead letters keep the order of their key with what comes after them, which waits for them.
    pub fn dead_letters_keep_their_place(&mut self) {
        self.parks = true;
    }

    /// Unless they keep their place, dead letters and what came of them have left the order of
    /// their key.
    fn left_its_lane(&self, id: Uuid) -> bool {
        !self.parks && (self.dead.contains(&id) || self.redriven.contains_key(&id))
    }
}
