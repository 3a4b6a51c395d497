//! The broker that remembers what it accepted.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::Message;
use uuid::Uuid;

/// Records messages in the order of their acceptance. It never forgets and never deduplicates.
#[derive(Debug, Clone, Default)]
pub struct Broker {
    log: Vec<Acceptance>,
    by_id: HashMap<Uuid, Tally>,
}

/// One message that the broker accepted.
#[derive(Debug, Clone)]
pub struct Acceptance {
    /// When.
    pub at: Duration,
    /// From whom, in the caller's numbering.
    pub sender: u64,
    /// What.
    pub message: Arc<Message>,
}

#[derive(Debug, Clone, Copy)]
struct Tally {
    first: usize,
    count: usize,
}

impl Broker {
    /// A broker that has nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a message. Returns its position in the log.
    pub fn accept(&mut self, at: Duration, sender: u64, message: Arc<Message>) -> usize {
        let position = self.log.len();
        let tally = Tally { first: position, count: 0 };
        self.by_id.entry(message.id()).or_insert(tally).count += 1;
        self.log.push(Acceptance { at, sender, message });
        position
    }

    /// All that was accepted, in order.
    pub fn log(&self) -> &[Acceptance] {
        &self.log
    }

    /// The position at which a message was accepted first.
    pub fn first(&self, id: Uuid) -> Option<usize> {
        self.by_id.get(&id).map(|tally| tally.first)
    }

    /// How often a message was accepted.
    pub fn count(&self, id: Uuid) -> usize {
        self.by_id.get(&id).map_or(0, |tally| tally.count)
    }

    /// How many different messages were accepted.
    pub fn distinct(&self) -> usize {
        self.by_id.len()
    }

    /// Acceptances beyond the first of each message.
    pub fn duplicates(&self) -> usize {
        self.log.len() - self.by_id.len()
    }
}
