//! The service whose events are relayed: transactions that overlap, commit late and roll back.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outbox_core::{Message, MessageParts, Partition, Reason, Visibility};
use uuid::Uuid;

use super::broker::Nature;
use super::queue::Happening;
use super::world::World;
use crate::memory::Transaction;

#[derive(Debug)]
pub(super) struct Writer {
    state: State,
    messages: Vec<Message>,
    commits: bool,
    /// The longest time between two of its steps.
    pace: Duration,
}

#[derive(Debug)]
enum State {
    Waiting,
    Open(Transaction),
    Done,
}

/// Numbers of transactions that are no writer's.
const HEARTBEATS: u64 = 1 << 32;

/// Writers begin within this time.
pub(super) const WRITING: Duration = Duration::from_secs(3);

/// A writer that found no database tries again within this time.
const COMES_BACK: Duration = Duration::from_millis(500);

/// Something follows, but not at the same time.
const INSTANT: Duration = Duration::from_micros(1);

impl World {
    pub(super) fn plan_writers(&mut self) {
        for index in 0..self.scenario.transactions {
            let begins = WRITING.mul_f64(self.rng.f64());
            let messages = (0..self.rng.usize(1..4)).map(|_| self.message()).collect();
            let slow = self.rng.u8(..5) == 0;
            // Within an assumed age no transaction may take longer than it.
            let longest = match self.scenario.visibility {
                Visibility::Within(age) => age / 5,
                _ => Duration::from_millis(500),
            };
            let pace = if slow { longest } else { Duration::from_millis(5) };
            let commits = self.rng.u8(..5) > 0;
            self.writers.push(Writer { state: State::Waiting, messages, commits, pace });
            self.queue.push(begins, Happening::Write(index));
        }
    }

    fn message(&mut self) -> Message {
        let key = self.rng.u64(..=self.scenario.keys);
        self.message_with((key > 0).then(|| format!("key-{key}").into()))
    }

    fn message_with(&mut self, key: Option<Arc<str>>) -> Message {
        let payload = vec![b'x'; self.rng.usize(..300)];
        Message::restore(MessageParts {
            id: Uuid::from_u128(u128::from(self.rng.u64(..)) << 64 | u128::from(self.rng.u64(..))),
            topic: Arc::clone(&self.topics[self.rng.usize(..self.topics.len())]),
            key,
            message_type: None,
            content_type: Arc::clone(&self.topics[0]),
            payload: payload.into(),
            headers: Vec::new(),
            created_at: SystemTime::UNIX_EPOCH,
        })
    }

    pub(super) fn write(&mut self, index: usize) {
        match self.writers[index].state {
            State::Waiting => self.begin(index),
            // The connection is gone, and with it the transaction.
            State::Open(transaction) if self.database_down => self.roll_back(index, transaction),
            State::Open(transaction) => self.step(index, transaction),
            State::Done => {}
        }
        if let State::Open(_) = self.writers[index].state {
            let pace = self.writers[index].pace.mul_f64(self.rng.f64());
            self.queue.push(self.now + pace + INSTANT, Happening::Write(index));
        }
    }

    fn begin(&mut self, index: usize) {
        if self.database_down {
            // The service fails and comes back later, as its users do.
            let later = self.now + COMES_BACK.mul_f64(self.rng.f64()) + INSTANT;
            self.queue.push(later, Happening::Write(index));
        } else if let Some(transaction) = self.database.begin() {
            self.writers[index].state = State::Open(transaction);
        } else {
            self.waiting_writers.push(index);
        }
    }

    /// A transaction has ended: where there may be but one at a time, another may begin.
    fn ended(&mut self, index: usize) {
        self.writers[index].state = State::Done;
        self.open_writers -= 1;
        if !self.waiting_writers.is_empty() {
            let next = self.rng.usize(..self.waiting_writers.len());
            let next = self.waiting_writers.swap_remove(next);
            self.queue.push(self.now + INSTANT, Happening::Write(next));
        }
    }

    fn step(&mut self, index: usize, transaction: Transaction) {
        let now = self.database_now();
        let writer = &mut self.writers[index];
        if let Some(message) = writer.messages.pop() {
            self.history.inserting(index as u64, &message);
            if self.rng.f64() < self.scenario.faults.defective {
                self.defective.insert(message.id());
                let defect = Reason::new("headers that are no pairs");
                self.database.insert_defective(now, transaction, message, defect);
            } else {
                self.database.insert(now, transaction, message);
            }
        } else if writer.commits {
            self.database.commit(transaction);
            self.history.committed(index as u64);
            self.ended(index);
            self.wake_somebody();
        } else {
            self.roll_back(index, transaction);
        }
    }

    fn roll_back(&mut self, index: usize, transaction: Transaction) {
        self.database.rollback(transaction);
        self.history.rolled_back(index as u64);
        self.tally.rolled_back += 1;
        self.ended(index);
    }

    /// A message after the other, while there is a backlog.
    pub(super) fn heartbeat(&mut self) {
        let others = self.database.pending().any(|(.., m)| Some(m.id()) != self.heartbeat);
        if self.open_writers == 0 && !others {
            return;
        }
        let gone = |id| self.broker.count(id) > 0 || self.database.died().contains(&id);
        let arrived = self.heartbeat.is_none_or(gone);
        let free = arrived && !self.database_down;
        if free && let Some(transaction) = self.database.begin() {
            let message = self.message_with(None);
            self.heartbeat = Some(message.id());
            let number = HEARTBEATS + self.queue.scheduled();
            let partition = Partition::of_message(&message, self.scenario.partitions);
            self.natures.insert(message.id(), Nature::harmless(partition));
            self.history.inserting(number, &message);
            self.database.insert(self.database_now(), transaction, message);
            self.database.commit(transaction);
            self.history.committed(number);
        }
        self.queue.push(self.now + Duration::from_millis(100), Happening::Heartbeat);
    }

    /// A commit wakes the relays of its own process, if it has any.
    fn wake_somebody(&mut self) {
        let relay = self.rng.usize(..self.scenario.relays * 2);
        if relay < self.scenario.relays {
            self.tell(relay, outbox_core::relay::Input::Woken);
        }
    }
}
