//! Who owns which partition, by the database's clock.

use std::collections::BTreeMap;
use std::time::Duration;

use outbox_core::{Epoch, Lease, LeaseReport, LeaseRequest, LiveRelay, Partition, RelayId};

use super::{Counters, Database, Sabotage};

impl Database {
    /// See [`Store::lease`](outbox_core::Store::lease).
    pub fn lease(&mut self, now: Duration, request: &LeaseRequest) -> LeaseReport {
        let tx = self.passing_tx();
        let take_live = self.sabotaged(Sabotage::TakeLive);
        self.leases.apply(now, request, take_live, &mut self.counters);
        LeaseReport { leases: self.leases.report(now), relays: self.leases.live_relays(now), tx }
    }

    /// Who owns a partition, even if its lease has run out: then nobody has taken it yet.
    ///
    /// # Panics
    /// If there is no such partition.
    pub fn owner(&self, partition: Partition) -> Option<RelayId> {
        self.leases.partitions[usize::from(partition.0)].owner
    }
}

#[derive(Debug, Clone)]
pub(super) struct Leases {
    partitions: Vec<Ownership>,
    relays: BTreeMap<RelayId, Presence>,
}

#[derive(Debug, Clone, Default)]
struct Ownership {
    owner: Option<RelayId>,
    epoch: Epoch,
    term: Term,
}

#[derive(Debug, Clone)]
struct Presence {
    sick: bool,
    term: Term,
}

/// A time that something holds for.
#[derive(Debug, Clone, Copy, Default)]
struct Term {
    expires_at: Duration,
    duration: Duration,
}

impl Term {
    fn from(now: Duration, duration: Duration) -> Self {
        Self { expires_at: now + duration, duration }
    }

    /// The second bound ends it when the clock has stepped back by more than its duration: it
    /// would live too long. A smaller step is a correction.
    fn live(self, now: Duration) -> bool {
        now < self.expires_at && self.expires_at <= now + 2 * self.duration
    }
}

impl Leases {
    pub(super) fn new(partitions: u16) -> Self {
        let partitions = vec![Ownership::default(); usize::from(partitions)];
        Self { partitions, relays: BTreeMap::new() }
    }

    /// Whether `relay` owns the partition under that epoch, even if its lease has run out: then
    /// nobody has taken it yet.
    pub(super) fn owns(&self, relay: RelayId, partition: Partition, epoch: Epoch) -> bool {
        let ownership = &self.partitions[usize::from(partition.0)];
        ownership.owner == Some(relay) && ownership.epoch == epoch
    }

    /// Whether a partition has no live owner.
    pub(super) fn vacant(&self, now: Duration) -> bool {
        self.partitions.iter().any(|ownership| !ownership.live(now))
    }

    pub(super) fn live_owners(&self, now: Duration) -> impl Iterator<Item = Option<RelayId>> {
        self.partitions.iter().map(move |o| o.owner.filter(|_| o.live(now)))
    }

    pub(super) fn live_relays(&self, now: Duration) -> Vec<LiveRelay> {
        let live = self.relays.iter().filter(|(_, presence)| presence.term.live(now));
        live.map(|(id, presence)| LiveRelay { id: *id, sick: presence.sick }).collect()
    }

    fn apply(
        &mut self,
        now: Duration,
        request: &LeaseRequest,
        take_live: bool,
        counters: &mut Counters,
    ) {
        let term = Term::from(now, request.ttl);
        let relay = request.relay;
        self.relays.retain(|_, presence| presence.term.live(now));
        if request.leaving {
            self.relays.remove(&relay);
        } else {
            self.relays.insert(relay, Presence { sick: request.sick, term });
        }
        for &(partition, epoch) in &request.release {
            if self.owns(relay, partition, epoch) {
                self.partitions[usize::from(partition.0)].owner = None;
            }
        }
        for owned in self.partitions.iter_mut().filter(|o| o.owner == Some(relay)) {
            if request.leaving {
                owned.owner = None;
            } else {
                owned.term = term;
            }
        }
        if request.leaving {
            return;
        }
        for partition in &request.take {
            let ownership = &mut self.partitions[usize::from(partition.0)];
            let mine = ownership.owner == Some(relay);
            if !ownership.live(now) || (take_live && !mine) {
                counters.leases_taken += 1;
                counters.leases_taken_over += u64::from(ownership.owner.is_some());
                let epoch = Epoch(ownership.epoch.0 + 1);
                *ownership = Ownership { owner: Some(relay), epoch, term };
            }
        }
    }

    fn report(&self, now: Duration) -> Vec<Lease> {
        let lease = |(partition, ownership): (u16, &Ownership)| Lease {
            partition: Partition(partition),
            owner: ownership.owner,
            epoch: ownership.epoch,
            live: ownership.live(now),
        };
        (0..).zip(&self.partitions).map(lease).collect()
    }
}

impl Ownership {
    fn live(&self, now: Duration) -> bool {
        self.owner.is_some() && self.term.live(now)
    }
}
