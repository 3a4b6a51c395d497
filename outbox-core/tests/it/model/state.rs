//! Everything that is remembered in the model, and what happens to it from outside the relays.

use super::relay::{Entry, Relay};
use super::store::{MESSAGES, RelayId, Row, Settlement, Store, TTL};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct State {
    pub(super) store: Store,
    pub(super) relays: [Relay; 2],
    /// How many other messages the broker had when it first accepted each.
    pub(super) accepted: [Option<usize>; MESSAGES],
    /// A message was accepted twice.
    pub(super) duplicates: bool,
    /// A relay that ran sent a message of a partition that wasn't its own.
    pub(super) trespassed: bool,
    /// A settlement that its relay has given up, and that takes effect all the same.
    pub(super) late: Option<(RelayId, Settlement)>,
    pub(super) faults: u8,
    pub(super) drains: u8,
}

impl State {
    pub(super) fn new(faults: u8, drains: u8) -> Self {
        Self {
            store: Store::new(),
            relays: [0, 1].map(Relay::new),
            accepted: [None; MESSAGES],
            duplicates: false,
            trespassed: false,
            late: None,
            faults,
            drains,
        }
    }

    /// Every message arrived or died, and the store knows it.
    pub(super) fn is_done(&self) -> bool {
        !self.store.rows.iter().any(|row| matches!(row, Row::Pending { .. }))
    }

    pub(super) fn tick(&mut self) -> Option<()> {
        let before = *self;
        let State { store, relays, faults, .. } = self;
        let late =
            |relay: &Relay| matches!(relay.flight(), Some((_, Entry::Flying { left: 0, .. })));
        // The driver ends a publish at its deadline.
        if relays.iter().any(|relay| !relay.paused && late(relay)) {
            return None;
        }
        if store.left == 1 && relays.iter().any(|r| !r.paused && store.owner == Some(r.id)) {
            *faults = faults.checked_sub(1)?;
        }
        store.left = store.left.saturating_sub(1);
        for relay in relays {
            if let Some(tenure) = &mut relay.tenure {
                tenure.left = tenure.left.saturating_sub(1);
            }
            if let Some(call) = &mut relay.leasing {
                call.asked_ago = TTL.min(call.asked_ago + 1);
            }
            for entry in &mut relay.entries {
                if let Entry::Flying { left, .. } = entry {
                    *left = left.saturating_sub(1);
                }
            }
        }
        (*self != before).then_some(())
    }

    /// A relay that runs sends a message.
    pub(super) fn send(&mut self, index: usize, row: usize) {
        self.trespassed |= self.store.owner != Some(self.relays[index].id);
        self.accept(row);
    }

    pub(super) fn flush(&mut self, index: usize) -> Option<()> {
        let relay = &mut self.relays[index];
        let row = match (relay.buffer.take(), relay.flight()) {
            (Some(row), _) => row,
            (None, Some((row, Entry::Flying { attempts, left, .. }))) => {
                relay.entries[row] = Entry::Flying { attempts, left, sent: true };
                row
            }
            _ => return None,
        };
        self.accept(row);
        Some(())
    }

    pub(super) fn accept(&mut self, row: usize) {
        let before = self.accepted.iter().flatten().count();
        self.duplicates |= self.accepted[row].is_some();
        self.accepted[row].get_or_insert(before);
    }

    /// Relays differ by nothing but their names: of two states that are each other's mirror image
    /// one is enough.
    pub(super) fn canonical(self) -> Self {
        let mut mirrored = self;
        mirrored.relays.reverse();
        let names = mirrored.relays.iter_mut().map(|relay| &mut relay.id);
        let others =
            mirrored.store.owner.iter_mut().chain(mirrored.late.iter_mut().map(|late| &mut late.0));
        names.chain(others).for_each(|id| *id ^= 1);
        self.min(mirrored)
    }

    pub(super) fn crash(&mut self, index: usize) {
        let relay = &self.relays[index];
        let buffer = match relay.flight() {
            Some((row, Entry::Flying { sent: false, .. })) => Some(row),
            _ => relay.buffer,
        };
        self.relays[index] = Relay::new(relay.id + 2);
        self.relays[index].buffer = buffer;
    }
}
