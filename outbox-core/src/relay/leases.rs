//! Which partitions this relay owns, for how long, and what it asks for next.

use std::collections::BTreeMap;
use std::time::Duration;

use super::config::RelayConfig;
use super::share::fair_share;
use crate::{Epoch, Lease, LeaseReport, LeaseRequest, Partition, RelayId};

#[derive(Debug)]
pub(super) struct Leases {
    me: RelayId,
    ttl: Duration,
    publish_timeout: Duration,
    tenures: BTreeMap<Partition, Tenure>,
    /// The last report, from which the next request follows.
    report: LeaseReport,
    pub(super) next_at: Duration,
    asked_at: Duration,
    /// Its last request wanted partitions of nobody's.
    reached_out: bool,
    /// Until then, what belonged to others and ran out is left alone: after an outage of the
    /// database every lease has run out, though its owner lives.
    grace_until: Duration,
    outage: bool,
    /// It takes nothing any more.
    pub(super) leaving: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tenure {
    pub(super) epoch: Epoch,
    /// Until when it holds for sure: measured from when it was asked for.
    until: Duration,
    pub(super) state: TenureState,
    told_expired: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TenureState {
    /// Read and published from.
    Active,
    /// Handed back once nothing of it is on the way.
    Draining,
    /// Somebody else's by now; what is on the way ends, nothing new starts.
    Lost,
}

/// What a report changed.
#[derive(Debug, Default)]
pub(super) struct LeaseChanges {
    pub(super) acquired: Vec<(Partition, Epoch)>,
    pub(super) renewed: Vec<Partition>,
    pub(super) released: Vec<Partition>,
    pub(super) lost: Vec<Partition>,
}

impl Leases {
    pub(super) fn new(me: RelayId, config: &RelayConfig, now: Duration) -> Self {
        Self {
            me,
            ttl: config.lease,
            publish_timeout: config.publish_timeout,
            tenures: BTreeMap::new(),
            report: LeaseReport::default(),
            next_at: now,
            asked_at: now,
            reached_out: false,
            grace_until: Duration::ZERO,
            outage: false,
            leaving: false,
        }
    }

    pub(super) fn get(&self, partition: Partition) -> Option<&Tenure> {
        self.tenures.get(&partition)
    }

    pub(super) fn len(&self) -> usize {
        self.tenures.len()
    }

    pub(super) fn is_active(&self, partition: Partition) -> bool {
        self.get(partition).is_some_and(|tenure| tenure.state == TenureState::Active)
    }

    pub(super) fn is_lost(&self, partition: Partition) -> bool {
        self.get(partition).is_none_or(|tenure| tenure.state == TenureState::Lost)
    }

    /// A publish that starts now ends before the lease does.
    pub(super) fn may_publish(&self, partition: Partition, now: Duration) -> bool {
        self.get(partition).is_some_and(|tenure| {
            tenure.state == TenureState::Active && now + self.publish_timeout <= tenure.until
        })
    }

    /// Takes note that verdicts under this tenure no longer count. Returns whether it was news.
    pub(super) fn lose(&mut self, partition: Partition, epoch: Epoch) -> bool {
        match self.tenures.get_mut(&partition) {
            Some(tenure) if tenure.epoch == epoch && tenure.state != TenureState::Lost => {
                tenure.state = TenureState::Lost;
                true
            }
            _ => false,
        }
    }

    pub(super) fn forget(&mut self, partition: Partition) {
        self.tenures.remove(&partition);
    }

    pub(super) fn partitions_in(&self, state: TenureState) -> Vec<Partition> {
        let within = self.tenures.iter().filter(|(_, tenure)| tenure.state == state);
        within.map(|(partition, _)| *partition).collect()
    }

    /// Partitions whose lease has run out unrenewed since the last call.
    pub(super) fn newly_expired(&mut self, now: Duration) -> Vec<Partition> {
        let mut expired = Vec::new();
        for (partition, tenure) in &mut self.tenures {
            if tenure.state == TenureState::Active && now >= tenure.until && !tenure.told_expired {
                tenure.told_expired = true;
                expired.push(*partition);
            }
        }
        expired
    }

    pub(super) fn next_expiry(&self) -> Option<Duration> {
        let untold = |tenure: &&Tenure| tenure.state == TenureState::Active && !tenure.told_expired;
        self.tenures.values().filter(untold).map(|tenure| tenure.until).min()
    }

    /// The database failed: its answers stop and, after that, all leases may have run out.
    pub(super) fn outage(&mut self) {
        self.outage = true;
    }

    /// There are partitions that nobody owns: look soon, but no more often than every `interval`.
    pub(super) fn notice_vacancy(&mut self, now: Duration, interval: Duration) {
        self.next_at = self.next_at.min((self.asked_at + interval).max(now));
    }

    /// How many partitions to hand back, by the last report.
    pub(super) fn surplus(&self) -> usize {
        if self.report.leases.is_empty() {
            return 0;
        }
        let active = self.partitions_in(TenureState::Active).len();
        active.saturating_sub(fair_share(&self.report, self.me))
    }

    pub(super) fn drain(&mut self, partition: Partition) {
        if let Some(tenure) = self.tenures.get_mut(&partition) {
            tenure.state = TenureState::Draining;
        }
    }

    /// The next request. `drained` are the partitions of which nothing is on the way any more.
    pub(super) fn request(
        &mut self,
        now: Duration,
        drained: &[Partition],
        (sick, leaving): (bool, bool),
        rng: &mut fastrand::Rng,
    ) -> LeaseRequest {
        let release = drained.iter().filter_map(|p| Some((*p, self.get(*p)?.epoch))).collect();
        let take = self.wanted(now, rng);
        self.reached_out = !take.is_empty();
        LeaseRequest { relay: self.me, ttl: self.ttl, take, release, sick, leaving }
    }

    fn wanted(&self, now: Duration, rng: &mut fastrand::Rng) -> Vec<Partition> {
        if self.leaving {
            return Vec::new();
        }
        let mut free: Vec<Partition> = self
            .report
            .leases
            .iter()
            .filter(|l| self.is_free(l, now))
            .map(|l| l.partition)
            .collect();
        // Relays that come at the same time start at different places.
        rng.shuffle(&mut free);
        let missing = fair_share(&self.report, self.me).saturating_sub(self.tenures.len());
        free.truncate(missing);
        free
    }

    fn is_free(&self, lease: &Lease, now: Duration) -> bool {
        let abandoned = lease.owner.is_none() || (!lease.live && now >= self.grace_until);
        abandoned && !self.tenures.contains_key(&lease.partition)
    }

    /// Takes in the answer to a request made at `asked`. `idle` tells of which partitions nothing
    /// is in memory.
    pub(super) fn leased(
        &mut self,
        (asked, now): (Duration, Duration),
        report: LeaseReport,
        idle: impl Fn(Partition) -> bool,
        rng: &mut fastrand::Rng,
    ) -> LeaseChanges {
        if std::mem::take(&mut self.outage) {
            self.grace_until = now + self.ttl / 3;
        }
        let mut changes = LeaseChanges::default();
        for lease in &report.leases {
            self.compare(lease, asked, &idle, &mut changes);
        }
        self.report = report;
        self.asked_at = asked;
        // Up to a tenth earlier, so that relays that started together don't renew together.
        let wait = (self.ttl / 3).mul_f64(0.9 + rng.f64() / 10.0);
        // What was asked for in vain, because somebody holds its row locked, is no nearer at once.
        let in_vain = self.reached_out && changes.acquired.is_empty();
        self.next_at = match (self.wanted(now, rng).is_empty(), in_vain) {
            (true, _) => asked + wait,
            (false, true) => asked + self.ttl / 10,
            (false, false) => now,
        };
        if self.grace_until > now && self.grace_until < self.next_at {
            self.next_at = self.grace_until;
        }
        changes
    }

    fn compare(
        &mut self,
        lease: &Lease,
        asked: Duration,
        idle: &impl Fn(Partition) -> bool,
        changes: &mut LeaseChanges,
    ) {
        let partition = lease.partition;
        let mine = lease.owner == Some(self.me);
        let until = asked + self.ttl;
        match self.tenures.get_mut(&partition) {
            Some(tenure) if mine && lease.epoch == tenure.epoch => {
                tenure.until = until;
                tenure.told_expired = false;
                changes.renewed.push(partition);
            }
            Some(tenure) if tenure.state == TenureState::Draining && !mine && idle(partition) => {
                self.tenures.remove(&partition);
                changes.released.push(partition);
            }
            Some(tenure) if tenure.state != TenureState::Lost => {
                tenure.state = TenureState::Lost;
                changes.lost.push(partition);
            }
            None if mine => {
                let state = TenureState::Active;
                let tenure = Tenure { epoch: lease.epoch, until, state, told_expired: false };
                self.tenures.insert(partition, tenure);
                changes.acquired.push((partition, lease.epoch));
            }
            Some(_) | None => {}
        }
    }
}
