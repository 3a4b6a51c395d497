//! Leases and liveness.

use outbox_core::{Epoch, Lease, LeaseReport, LeaseRequest, LiveRelay, Partition, RelayId};

use super::Fixture;
use super::fixture::{LONG, SHORT};

const P: Partition = Partition(1);

pub async fn the_report_lists_every_partition_and_the_asking_relay(outbox: &Fixture) {
    let relay = outbox.relay().await;
    let report = relay.renew(LONG).await;
    assert!(report.leases.iter().map(|lease| lease.partition).eq(outbox.partitions()));
    assert!(report.leases.iter().all(|lease| lease.owner.is_none() && !lease.live));
    assert_eq!(report.relays, [LiveRelay { id: relay.id, sick: false }]);
}

pub async fn what_is_free_is_taken_under_the_next_epoch(outbox: &Fixture) {
    let relay = outbox.relay().await;
    let before = of(&relay.renew(LONG).await, P).epoch;
    let report = relay.try_take(P, LONG).await;
    let epoch = Epoch(before.0 + 1);
    let taken = Lease { partition: P, owner: Some(relay.id), epoch, live: true };
    assert_eq!(of(&report, P), taken);
    assert!(report.leases.iter().all(|lease| lease.partition == P || lease.owner.is_none()));
    let other = outbox.relay().await.renew(LONG).await;
    assert_eq!(of(&other, P), taken, "others see it");
    assert_eq!(of(&relay.try_take(P, LONG).await, P), taken, "what one owns stays as it is");
}

pub async fn one_of_two_takers_wins_each_partition(outbox: &Fixture) {
    let relays = [outbox.relay().await, outbox.relay().await, outbox.relay().await];
    let before = relays[0].renew(LONG).await.leases;
    let take: Vec<_> = outbox.partitions().collect();
    for round in 1..=10 {
        // Each begins elsewhere, so that they meet in the middle.
        let rush = |n: usize| {
            let mut take = take.clone();
            let middle = n * take.len() / relays.len();
            take.rotate_left(middle);
            let request = LeaseRequest { take, ..relays[n].request(LONG) };
            let store = relays[n].store.clone();
            tokio::spawn(async move { store.lease(&request).await.unwrap() })
        };
        let rushes: Vec<_> = (0..relays.len()).map(rush).collect();
        let mut won = vec![Vec::new(); take.len()];
        for (relay, rush) in relays.iter().zip(rushes) {
            let report = rush.await.unwrap();
            let mine = report.leases.iter().filter(|lease| lease.owner == Some(relay.id));
            mine.for_each(|lease| won[usize::from(lease.partition.0)].push(lease.epoch));
        }
        for (epochs, lease) in won.iter().zip(&before) {
            let next = Epoch(lease.epoch.0 + round);
            assert_eq!(*epochs, [next], "partition {} in round {round}", lease.partition);
        }
        for relay in &relays {
            relay.leave().await;
        }
    }
}

pub async fn a_live_lease_is_not_taken(outbox: &Fixture) {
    let (owner, other) = (outbox.relay().await, outbox.relay().await);
    let epoch = owner.take(P, LONG).await;
    let report = other.try_take(P, LONG).await;
    assert_eq!(of(&report, P), Lease { partition: P, owner: Some(owner.id), epoch, live: true });
}

pub async fn a_renewal_keeps_the_epoch(outbox: &Fixture) {
    let (owner, other) = (outbox.relay().await, outbox.relay().await);
    let ttl = 6 * SHORT;
    let epoch = owner.take(P, ttl).await;
    for _ in 0..4 {
        outbox.wait(2 * SHORT).await;
        let lease = of(&owner.renew(ttl).await, P);
        assert_eq!(lease, Lease { partition: P, owner: Some(owner.id), epoch, live: true });
    }
    // Without renewals it would have run out by now.
    assert_eq!(of(&other.try_take(P, ttl).await, P).owner, Some(owner.id));
}

pub async fn a_lease_that_ran_out_is_taken_under_the_next_epoch(outbox: &Fixture) {
    let (gone, heir) = (outbox.relay().await, outbox.relay().await);
    let old = gone.take(P, SHORT).await;
    outbox.wait(2 * SHORT).await;
    let lease = of(&heir.renew(LONG).await, P);
    let owner = Some(gone.id);
    assert_eq!(lease, Lease { partition: P, owner, epoch: old, live: false }, "it owned it last");
    let new = heir.take(P, LONG).await;
    assert_eq!(new, Epoch(old.0 + 1));
    let lease = of(&gone.renew(LONG).await, P);
    let owner = Some(heir.id);
    assert_eq!(lease, Lease { partition: P, owner, epoch: new, live: true }, "it is not renewed");
}

pub async fn a_lease_that_ran_out_and_was_not_taken_is_renewed(outbox: &Fixture) {
    let relay = outbox.relay().await;
    let epoch = relay.take(P, SHORT).await;
    outbox.wait(2 * SHORT).await;
    let lease = of(&relay.renew(LONG).await, P);
    assert_eq!(lease, Lease { partition: P, owner: Some(relay.id), epoch, live: true });
}

pub async fn a_released_lease_is_free_at_once(outbox: &Fixture) {
    let (owner, other) = (outbox.relay().await, outbox.relay().await);
    let epoch = owner.take(P, LONG).await;
    let kept = owner.take(Partition(2), LONG).await;
    let report = owner.release(P, epoch).await;
    assert_eq!(of(&report, P), Lease { partition: P, owner: None, epoch, live: false });
    let kept = Lease { partition: Partition(2), owner: Some(owner.id), epoch: kept, live: true };
    assert_eq!(of(&report, Partition(2)), kept, "what isn't released is renewed");
    assert_eq!(other.take(P, LONG).await, Epoch(epoch.0 + 1));
}

pub async fn only_the_epoch_named_is_released(outbox: &Fixture) {
    let (owner, other) = (outbox.relay().await, outbox.relay().await);
    let epoch = owner.take(P, LONG).await;
    let owned = Lease { partition: P, owner: Some(owner.id), epoch, live: true };
    assert_eq!(of(&owner.release(P, Epoch(epoch.0 - 1)).await, P), owned);
    assert_eq!(of(&owner.release(P, Epoch(epoch.0 + 1)).await, P), owned);
    assert_eq!(of(&other.release(P, epoch).await, P), owned, "it belongs to another");
}

pub async fn who_leaves_gives_up_everything(outbox: &Fixture) {
    let (leaver, other) = (outbox.relay().await, outbox.relay().await);
    other.renew(LONG).await;
    let take = outbox.partitions().collect();
    leaver.lease(LeaseRequest { take, ..leaver.request(LONG) }).await;
    let report = leaver.leave().await;
    assert!(report.leases.iter().all(|lease| lease.owner.is_none() && !lease.live));
    assert_eq!(live(&report), [other.id]);
    assert_eq!(live(&other.renew(LONG).await), [other.id]);
    other.take(P, LONG).await;
}

pub async fn who_falls_silent_stops_being_live(outbox: &Fixture) {
    let (silent, loud) = (outbox.relay().await, outbox.relay().await);
    silent.renew(SHORT).await;
    outbox.wait(2 * SHORT).await;
    assert_eq!(live(&loud.renew(LONG).await), [loud.id]);
    let mut both = [silent.id, loud.id];
    both.sort_unstable();
    assert_eq!(live(&silent.renew(LONG).await), both, "until it is heard of again");
}

pub async fn the_sick_are_told(outbox: &Fixture) {
    let (sick, well) = (outbox.relay().await, outbox.relay().await);
    let told = |report: LeaseReport| {
        let relay = report.relays.into_iter().find(|relay| relay.id == sick.id);
        relay.expect("it is live").sick
    };
    assert!(told(sick.lease(LeaseRequest { sick: true, ..sick.request(LONG) }).await));
    assert!(told(well.renew(LONG).await));
    assert!(!told(sick.renew(LONG).await));
    assert!(!told(well.renew(LONG).await), "it has recovered");
}

fn of(report: &LeaseReport, partition: Partition) -> Lease {
    report.leases[usize::from(partition.0)]
}

fn live(report: &LeaseReport) -> Vec<RelayId> {
    let mut ids: Vec<_> = report.relays.iter().map(|relay| relay.id).collect();
    ids.sort_unstable();
    ids
}
