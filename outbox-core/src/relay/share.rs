//! How many partitions a relay should own. Every relay computes it from the same report, so they
//! agree without talking to each other.

use std::cmp::Reverse;
use std::collections::HashMap;

use crate::{LeaseReport, RelayId};

/// The fair share of `me`: between floor and ceil of partitions / relays. The larger shares go to
/// the relays that own more already, so that little moves. A relay whose broker is out of reach
/// keeps one partition to probe with, as long as another relay is well.
pub(super) fn fair_share(report: &LeaseReport, me: RelayId) -> usize {
    let partitions = report.leases.len();
    let mut owned: HashMap<RelayId, usize> = HashMap::new();
    for owner in report.leases.iter().filter(|lease| lease.live).filter_map(|lease| lease.owner) {
        *owned.entry(owner).or_default() += 1;
    }
    let all_sick = report.relays.iter().all(|relay| relay.sick);
    let is_sick = |sick: bool| sick && !all_sick;

    let probing = report.relays.iter().filter(|relay| is_sick(relay.sick)).count();
    if report.relays.iter().any(|relay| relay.id == me && is_sick(relay.sick)) {
        return 1.min(partitions);
    }
    let mut healthy: Vec<RelayId> =
        report.relays.iter().filter(|relay| !is_sick(relay.sick)).map(|relay| relay.id).collect();
    healthy.sort_by_key(|id| (Reverse(owned.get(id).copied().unwrap_or(0)), *id));
    let Some(rank) = healthy.iter().position(|id| *id == me) else { return 0 };
    // No healthy relay gives its only partition away to be probed with: with fewer partitions than
    // relays it would go round, and nobody keep it long enough to tell poison from an outage.
    let shared = partitions.saturating_sub(probing).max(partitions.min(healthy.len()));
    shared / healthy.len() + usize::from(rank < shared % healthy.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Epoch, Lease, LiveRelay, Partition};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn id(n: usize) -> RelayId {
        RelayId(Uuid::from_u128(n as u128 + 1))
    }

    /// `owners[p]` is who owns partition p; `sick[r]` whether relay r is sick.
    fn report(owners: &[Option<usize>], sick: &[bool]) -> LeaseReport {
        LeaseReport {
            leases: owners
                .iter()
                .enumerate()
                .map(|(p, owner)| Lease {
                    partition: Partition(p.try_into().unwrap()),
                    owner: owner.map(id),
                    epoch: Epoch(1),
                    live: owner.is_some(),
                })
                .collect(),
            relays: sick
                .iter()
                .enumerate()
                .map(|(r, sick)| LiveRelay { id: id(r), sick: *sick })
                .collect(),
            tx: None,
        }
    }

    #[test]
    fn one_above_the_floor_stays_until_another_is_below_it() {
        // 4 partitions, 3 relays: 2, 1, 1 is fair, and 2, 2, 0 is not.
        let fair = report(&[Some(0), Some(0), Some(1), Some(2)], &[false; 3]);
        assert_eq!([0, 1, 2].map(|r| fair_share(&fair, id(r))), [2, 1, 1]);
        let unfair = report(&[Some(0), Some(0), Some(1), Some(1)], &[false; 3]);
        assert_eq!([0, 1, 2].map(|r| fair_share(&unfair, id(r))), [2, 1, 1]);
    }

    #[test]
    fn a_sick_relay_keeps_one_partition_unless_all_are_sick() {
        let owners = [Some(0), Some(0), Some(1), Some(1)];
        let one = report(&owners, &[true, false]);
        assert_eq!([0, 1].map(|r| fair_share(&one, id(r))), [1, 3]);
        let both = report(&owners, &[true, true]);
        assert_eq!([0, 1].map(|r| fair_share(&both, id(r))), [2, 2]);
    }

    #[test]
    fn nobody_gives_its_only_partition_to_a_sick_relay() {
        let one = report(&[Some(0)], &[false, true, false]);
        assert_eq!([0, 2].map(|r| fair_share(&one, id(r))), [1, 0]);
        let two = report(&[Some(0), Some(0)], &[false, true]);
        assert_eq!([0, 1].map(|r| fair_share(&two, id(r))), [1, 1]);
    }

    #[test]
    fn relays_beyond_the_partitions_stand_by() {
        let two = report(&[Some(1), None], &[false; 3]);
        assert_eq!([0, 1, 2].map(|r| fair_share(&two, id(r))), [1, 1, 0]);
    }

    proptest! {
        #[test]
        fn shares_add_up_to_all_partitions_and_differ_by_at_most_one(
            owners in proptest::collection::vec(proptest::option::of(0usize..6), 1..40),
            relays in 1usize..6,
        ) {
            let report = report(&owners, &vec![false; relays]);
            let shares: Vec<usize> = (0..relays).map(|r| fair_share(&report, id(r))).collect();
            prop_assert_eq!(shares.iter().sum::<usize>(), owners.len());
            prop_assert!(shares.iter().max().unwrap() - shares.iter().min().unwrap() <= 1);
        }
    }
}
