//! Publishing: batches on their way, message by message.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use outbox_core::relay::{Batch, BatchId, Input};
use outbox_core::{Message, Ordering, Outcome, Partition};

use super::queue::Happening;
use super::tally::FaultKind;
use super::world::World;

/// A batch between the call of the publisher and its return.
#[derive(Debug)]
pub(super) struct Sending {
    messages: Vec<Arc<Message>>,
    outcomes: Vec<Outcome>,
    /// Keys of which a message was not accepted.
    blocked: HashSet<Arc<str>>,
    /// Why nothing more is accepted on this connection.
    cut: Option<Outcome>,
    deadline: Duration,
    open: usize,
}

/// What a message is like for the broker, drawn when it first arrives.
#[derive(Debug, Clone, Copy)]
pub(super) struct Nature {
    partition: Partition,
    failures_left: u32,
    rejected: bool,
    breaking: bool,
    /// Outcomes that may count as an attempt.
    pub(super) counted: u32,
    /// Outages that it met alone.
    pub(super) outages_met: u32,
    /// The last of them, as one relay saw it.
    last_outage: (usize, u32),
    pub(super) was_rejected: bool,
}

impl Nature {
    /// Of a message that every broker takes.
    pub(super) fn harmless(partition: Partition) -> Self {
        Self {
            partition,
            failures_left: 0,
            rejected: false,
            breaking: false,
            counted: 0,
            outages_met: 0,
            last_outage: (0, 0),
            was_rejected: false,
        }
    }

    /// It was put back after it had died, perhaps because its cause was mended.
    pub(super) fn redriven(&mut self, cured: bool) {
        if cured {
            let (failures_left, rejected, breaking) = (0, false, false);
            *self = Self { failures_left, rejected, breaking, ..*self };
        }
    }

    /// It was alone when the broker was out of reach.
    fn meets(&mut self, outage: (usize, u32)) {
        self.outages_met += u32::from(self.last_outage != outage);
        self.last_outage = outage;
    }
}

impl World {
    pub(super) fn publish(&mut self, relay: usize, batch: Batch) {
        self.check_lanes(relay, &batch);
        self.relays[relay].watch.publish(&batch, &mut self.tally);
        let run = self.relays[relay].run;
        let timeout = batch.deadline.saturating_sub(self.now);
        let slow = self.scenario.faults.can_duplicate() && self.rng.u8(..20) == 0;
        let longest = if slow { timeout.mul_f64(1.5) } else { timeout / 3 };
        let mut times: Vec<Duration> =
            batch.messages.iter().map(|_| self.now + longest.mul_f64(self.rng.f64())).collect();
        times.sort_unstable();
        let count = batch.messages.len();
        for (index, at) in times.iter().enumerate() {
            // Nothing is sent for the first time after the deadline.
            if *at <= batch.deadline {
                self.queue.push(*at, Happening::Send { relay, run, batch: batch.id, index });
            }
        }
        let returns = (times[count - 1] + self.latency()).min(batch.deadline);
        self.queue.push(returns, Happening::Returned { relay, run, batch: batch.id });
        let sending = Sending {
            outcomes: vec![Outcome::Unknown; count],
            messages: batch.messages,
            blocked: HashSet::new(),
            cut: None,
            deadline: batch.deadline,
            open: count,
        };
        self.relays[relay].sending.insert(batch.id, sending);
    }

    /// The machine's side of the publisher's contract.
    fn check_lanes(&mut self, relay: usize, batch: &Batch) {
        let mut runs: HashMap<(&str, &str), usize> = HashMap::new();
        for lane in batch.messages.iter().filter_map(lane) {
            *runs.entry(lane).or_default() += 1;
        }
        let on_the_way = self.relays[relay].sending.values().flat_map(|sending| &sending.messages);
        let twice = on_the_way.filter_map(lane).any(|lane| runs.contains_key(&lane));
        let run = self.scenario.ordering == Ordering::Independent && runs.values().any(|n| *n > 1);
        if twice || run || batch.messages.is_empty() {
            self.problem(format!("relay {relay} published {batch:?} against the lanes' rules"));
        }
    }

    /// A message reaches the broker, or a point where it doesn't.
    pub(super) fn send(&mut self, relay: usize, batch: BatchId, index: usize) {
        let Some(mut sending) = self.relays[relay].sending.remove(&batch) else { return };
        let message = Arc::clone(&sending.messages[index]);
        sending.outcomes[index] = self.outcome(relay, &mut sending, &message);
        let accepted = sending.outcomes[index] == Outcome::Delivered;
        if !accepted && let Some(key) = message.parts().key.clone() {
            sending.blocked.insert(key);
        }
        sending.open -= 1;
        self.relays[relay].sending.insert(batch, sending);
        if accepted && self.relays[relay].breaks > 0 && self.rng.u8(..4) == 0 {
            self.relays[relay].breaks -= 1;
            self.reset_broker(relay);
        }
    }

    fn outcome(&mut self, relay: usize, sending: &mut Sending, message: &Arc<Message>) -> Outcome {
        let faults = self.scenario.faults;
        let blocked = message.key().is_some_and(|key| sending.blocked.contains(key));
        if blocked && self.scenario.ordering == Ordering::PrefixPerKey {
            // It was never tried; what is said of it means nothing.
            return match self.rng.u8(..4) {
                0 => Outcome::Unknown,
                1 => Outcome::Unavailable("after one that failed".into()),
                2 => Outcome::Rejected("after one that failed".into()),
                _ => Outcome::Failed("after one that failed".into()),
            };
        }
        if let Some(cut) = &sending.cut {
            return cut.clone();
        }
        let nature = self.nature(message);
        if self.broker_down || nature.breaking {
            let cut = Outcome::Unavailable("connection refused".into());
            sending.cut = Some(cut.clone());
            return cut;
        }
        if nature.rejected {
            self.natures.get_mut(&message.id()).expect("drawn").was_rejected = true;
            return Outcome::Rejected("no such topic".into());
        }
        if nature.failures_left > 0 {
            let nature = self.natures.get_mut(&message.id()).expect("drawn");
            nature.failures_left -= 1;
            return Outcome::Failed("try again".into());
        }
        if faults.can_duplicate() && self.rng.u8(..100) == 0 {
            return Outcome::Throttled(Duration::from_millis(self.rng.u64(..100)));
        }
        if self.rng.f64() < faults.send_lost {
            // Nothing behind it on the connection arrives either.
            sending.cut = Some(Outcome::Unknown);
            return Outcome::Unknown;
        }
        self.accept(relay, message, true);
        if self.rng.f64() < faults.ack_lost {
            self.unknown += 1;
            self.tally.acknowledgements_lost += 1;
            // The broker has it, and the messages behind it in its lane stay in order.
            sending.cut = Some(Outcome::Unknown);
            return Outcome::Unknown;
        }
        Outcome::Delivered
    }

    /// The broker takes a message. A relay that runs, and whose clock goes as the database's does,
    /// stops sending before its lease ends.
    fn accept(&mut self, relay: usize, message: &Arc<Message>, runs: bool) {
        self.broker.accept(self.now, relay as u64, Arc::clone(message));
        self.history.accepted(message.id());
        let partition = self.nature(message).partition;
        if self.database.owner(partition) == self.relays[relay].id {
            return;
        }
        self.tally.former_owner_sends += 1;
        self.unknown += 1;
        let faults = self.scenario.faults;
        if runs && faults.clock_steps == 0 && faults.clock_leaps == 0 {
            self.problem(format!("relay {relay} sent {} after its lease had ended", message.id()));
        }
    }

    fn nature(&mut self, message: &Message) -> Nature {
        let faults = self.scenario.faults;
        let id = message.id();
        if let Some(nature) = self.natures.get(&id) {
            return *nature;
        }
        let failing = self.rng.f64() < faults.failing;
        let nature = Nature {
            failures_left: if failing { self.rng.u32(1..10) } else { 0 },
            rejected: self.rng.f64() < faults.rejected,
            breaking: self.rng.f64() < faults.breaking,
            ..Nature::harmless(Partition::of_message(message, self.scenario.partitions))
        };
        self.natures.insert(id, nature);
        nature
    }

    /// The publisher's call returns, or its deadline has come.
    pub(super) fn returned(&mut self, relay: usize, batch: BatchId) {
        let Some(sending) = self.relays[relay].sending.remove(&batch) else { return };
        debug_assert!(sending.open == 0 || self.now >= sending.deadline);
        for (message, outcome) in sending.messages.iter().zip(&sending.outcomes) {
            self.nature(message);
            let nature = self.natures.get_mut(&message.id()).expect("drawn");
            // An outage is nobody's failure. Only where messages break connections, one that was
            // near may be blamed with them.
            let may_break = self.scenario.faults.breaking > 0.0;
            let counts = match outcome {
                Outcome::Failed(_) | Outcome::Unknown => true,
                Outcome::Unavailable(_) => may_break,
                _ => false,
            };
            nature.counted += u32::from(counts);
            if matches!(outcome, Outcome::Unavailable(_)) && sending.messages.len() == 1 {
                nature.meets((relay, self.outages + self.relays[relay].resets));
            }
            self.tally.unknown_outcomes += u64::from(*outcome == Outcome::Unknown);
            let size = sending.messages.len();
            self.relays[relay].watch.returned(message.id(), outcome, size);
        }
        self.tell(relay, Input::Published(batch, sending.outcomes));
    }

    /// While a relay stands still it sends nothing, and what it skips it doesn't send later.
    pub(super) fn skip(&mut self, relay: usize, batch: BatchId) {
        if let Some(sending) = self.relays[relay].sending.get_mut(&batch) {
            sending.cut = Some(Outcome::Unknown);
            sending.open -= 1;
        }
    }

    /// The connections of a relay break: acknowledgements that were under way are lost.
    fn reset_broker(&mut self, relay: usize) {
        self.relays[relay].resets += 1;
        let mut batches: Vec<BatchId> = self.relays[relay].sending.keys().copied().collect();
        batches.sort_unstable();
        let mut lost = 0;
        for batch in &batches {
            let under_way = self.rng.usize(..4);
            let outcome = if self.rng.bool() {
                Outcome::Unknown
            } else {
                Outcome::Unavailable("connection reset".into())
            };
            let sending = self.relays[relay].sending.get_mut(batch).expect("it was listed");
            let sent = sending.messages.len() - sending.open;
            let acknowledged = sending.outcomes[..sent].iter_mut().rev();
            let last = acknowledged.take_while(|outcome| **outcome == Outcome::Delivered);
            for delivered in last.take(under_way) {
                *delivered = outcome.clone();
                lost += 1;
            }
        }
        self.struck(FaultKind::BrokerResets, lost > 0);
        lost += self.flush_buffers(relay, true);
        self.unknown += lost;
        self.tally.acknowledgements_lost += lost;
    }

    /// What a relay had in buffers, when it was killed, stood still or lost its connections, may
    /// arrive all the same. Returns how many messages did.
    pub(super) fn flush_buffers(&mut self, relay: usize, runs: bool) -> u64 {
        let mut buffers = Vec::new();
        for (id, sending) in &mut self.relays[relay].sending {
            let sent = sending.messages.len() - sending.open;
            if sending.cut.is_none() {
                buffers.push((*id, sending.messages[sent..].to_vec(), sending.blocked.clone()));
            }
            sending.cut = Some(Outcome::Unknown);
        }
        buffers.sort_by_key(|(id, ..)| *id);
        let mut flushed = 0;
        for (_, messages, blocked) in buffers {
            let buffered = self.rng.usize(..4);
            for message in messages.iter().take(buffered) {
                let nature = self.nature(message);
                let refused = nature.breaking || nature.rejected || nature.failures_left > 0;
                if self.broker_down || refused || message.key().is_some_and(|k| blocked.contains(k))
                {
                    break;
                }
                self.accept(relay, message, runs);
                flushed += 1;
            }
        }
        flushed
    }
}

/// What makes a lane, of a message that has a key.
fn lane(message: &Arc<Message>) -> Option<(&str, &str)> {
    Some((message.topic(), message.key()?))
}
