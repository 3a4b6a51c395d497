//! The services that write, and what they know of it.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use fastrand::Rng;
use outbox_core::Message;
use outbox_testkit::history::{Entry, Fate};

use super::place::{Ended, Place, Work};

/// What all writers share.
pub(super) struct Writers {
    place: Arc<dyn Place>,
    topics: Topics,
    numbers: AtomicI64,
    book: Mutex<Book>,
    stop: AtomicBool,
    /// How many messages are pending, as somebody has seen lately.
    pub(super) pending: AtomicU64,
    pace: Pace,
}

/// How much is written.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    /// The longest that a writer thinks.
    pub(super) think: Duration,
    /// With more pending, writers wait: what an outage leaves behind is worked off before the next,
    /// also on a machine that is busy.
    pub(super) most_pending: u64,
}

/// Where messages go.
pub(super) struct Topics {
    /// Nothing keeps messages from getting there.
    pub(super) open: String,
    /// Refused by the broker, each until its dead letters are put back.
    pub(super) refused: Vec<String>,
    /// Which of these is written to.
    pub(super) current: AtomicUsize,
}

#[derive(Default)]
struct Book {
    written: Vec<Written>,
    events: u64,
}

/// One transaction.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) number: i64,
    pub(super) messages: Vec<Message>,
    pub(super) begun: u64,
    pub(super) ended: Ended,
    pub(super) end: u64,
}

/// Keys that all writers share.
const KEYS: usize = 40;

/// Longer than anything that a database does: who waits any longer gives up.
const PATIENCE: Duration = Duration::from_secs(30);

impl Writers {
    pub(super) fn new(place: Arc<dyn Place>, topics: Topics, pace: Pace) -> Self {
        Self {
            place,
            topics,
            numbers: AtomicI64::new(1),
            book: Mutex::default(),
            stop: AtomicBool::new(false),
            pending: AtomicU64::new(0),
            pace,
        }
    }

    pub(super) fn topics(&self) -> &Topics {
        &self.topics
    }

    /// No transaction is begun any more.
    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// One transaction after the other.
    pub(super) async fn write(&self, mut rng: Rng) {
        while !self.stop.load(Relaxed) {
            let think = u64::try_from(self.pace.think.as_micros()).unwrap_or(u64::MAX);
            tokio::time::sleep(Duration::from_micros(rng.u64(0..=think))).await;
            if self.pending.load(Relaxed) > self.pace.most_pending {
                continue;
            }
            let number = self.numbers.fetch_add(1, Relaxed);
            let work = self.draw(number, &mut rng);
            let at = self.begin(&work);
            // Some who wait for an answer are called away, at any step.
            let patience = if rng.u8(..50) == 0 {
                Duration::from_micros(rng.u64(0..20_000))
            } else {
                PATIENCE
            };
            let asked = work.commits;
            let ended = match tokio::time::timeout(patience, self.place.transact(work)).await {
                Ok(ended) => ended,
                Err(_) if asked => Ended::Unknown,
                Err(_) => Ended::RolledBack,
            };
            self.end(at, ended);
        }
    }

    fn draw(&self, number: i64, rng: &mut Rng) -> Work {
        let refused = &self.topics.refused;
        let current = refused.get(self.topics.current.load(Relaxed));
        let topic = current.filter(|_| rng.u8(..25) == 0).unwrap_or(&self.topics.open);
        let key = format!("key-{}", rng.usize(..KEYS));
        let message = |event: usize| {
            Message::json(&**topic, &(number, event, "twelve roses, to be delivered on Monday"))
                .key(&key)
                .message_type("order.placed")
                .build()
                .expect("it is valid")
        };
        Work {
            number,
            messages: (0..rng.usize(1..=4)).map(message).collect(),
            early: rng.bool(),
            // Some transactions are overtaken by many that began later.
            dwell: Duration::from_millis(if rng.u8(..20) == 0 { rng.u64(10..300) } else { 0 }),
            commits: rng.u8(..6) > 0,
        }
    }

    fn begin(&self, work: &Work) -> usize {
        let mut book = self.book();
        book.events += 1;
        let begun = book.events;
        let (number, messages) = (work.number, work.messages.clone());
        // Whoever is never told that it ended doesn't know.
        book.written.push(Written { number, messages, begun, ended: Ended::Unknown, end: 0 });
        book.written.len() - 1
    }

    fn end(&self, at: usize, ended: Ended) {
        let mut book = self.book();
        book.events += 1;
        let event = book.events;
        let written = &mut book.written[at];
        (written.ended, written.end) = (ended, event);
    }

    /// Everything that was written so far.
    pub(super) fn written(&self) -> Vec<Written> {
        self.book().written.clone()
    }

    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Written {
    /// What is known of its messages, with the help of the ledger for what the writer doesn't know.
    pub(super) fn entries(&self, ledger: &BTreeSet<i64>) -> Vec<Entry> {
        let fate = match self.ended {
            Ended::Committed => Fate::Committed(self.end),
            // When, nobody knows: nothing had to come after it.
            Ended::Unknown if ledger.contains(&self.number) => Fate::Committed(u64::MAX),
            Ended::Unknown | Ended::RolledBack => Fate::RolledBack,
        };
        let entry = |message: &Message| {
            let parts = message.parts();
            Entry {
                id: parts.id,
                topic: parts.topic.clone(),
                key: parts.key.clone(),
                inserted: self.begun,
                fate,
            }
        };
        self.messages.iter().map(entry).collect()
    }
}
