//! What a relay goes through, told from what it asks for and what it is told.

use std::collections::HashMap;

use outbox_core::relay::{Batch, Event, Input};
use outbox_core::{FetchRequest, Outcome, Partition, RereadRequest, Seq};
use uuid::Uuid;

use super::Tally;

/// What is remembered of one run of a relay.
#[derive(Debug, Default)]
pub(super) struct Watch {
    horizon: Seq,
    cursors: HashMap<Partition, Seq>,
    /// Destinations that are unavailable.
    open: Vec<u16>,
    held: usize,
    /// The smallest batch in which each message found the broker unavailable.
    suspects: HashMap<Uuid, usize>,
}

impl Watch {
    pub(super) fn fetch(&mut self, request: &FetchRequest, tally: &mut Tally) {
        tally.horizons_advanced += u64::from(request.horizon > self.horizon);
        self.horizon = request.horizon;
        let behind = request.reads.iter().any(|read| read.after > request.horizon);
        tally.looks += u64::from(behind);
        let none = request.reads.iter().any(|read| read.limit == 0);
        tally.pages_full_of_held_lanes += u64::from(none);
        for read in &request.reads {
            let before = self.cursors.insert(read.partition, read.after);
            let reset = read.after == Seq::START && before.is_some_and(|seq| seq > Seq::START);
            tally.partitions_reset += u64::from(reset);
        }
    }

    pub(super) fn reread(request: &RereadRequest, tally: &mut Tally) {
        tally.lanes_reopened += request.lanes.len() as u64;
    }

    pub(super) fn publish(&mut self, batch: &Batch, tally: &mut Tally) {
        tally.breakers_half_open += u64::from(self.open.contains(&batch.destination.0));
        let size = batch.messages.len();
        let mut halved = false;
        for message in &batch.messages {
            let before = self.suspects.get(&message.id());
            halved |= before.is_some_and(|before| size <= before / 2);
        }
        tally.suspects_halved += u64::from(halved);
        tally.suspects_alone += u64::from(halved && size == 1);
    }

    pub(super) fn returned(&mut self, id: Uuid, outcome: &Outcome, size: usize) {
        if matches!(outcome, Outcome::Unavailable(_)) {
            let least = self.suspects.entry(id).or_insert(size);
            *least = size.min(*least);
        } else {
            self.suspects.remove(&id);
        }
    }

    pub(super) fn answer(input: &Input, tally: &mut Tally) {
        if let Input::Fetched(Ok(page)) = input {
            tally.truncated_looks += u64::from(page.look_truncated);
        }
    }

    pub(super) fn event(&mut self, event: &Event) {
        match event {
            Event::BreakerOpened(destination, _) => self.open.push(destination.0),
            Event::BreakerClosed(destination) => self.open.retain(|open| *open != destination.0),
            _ => {}
        }
    }

    /// Whether every destination works.
    pub(super) fn is_well(&self) -> bool {
        self.open.is_empty()
    }

    pub(super) fn held(&mut self, held: usize, tally: &mut Tally) {
        tally.lanes_held += held.saturating_sub(self.held) as u64;
        self.held = held;
    }
}
