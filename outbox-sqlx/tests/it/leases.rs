//! Leases.

use std::time::Duration;

use outbox_core::{LeaseReport, LeaseRequest, Partition, RelayId, Store as _};

use crate::support::{Bed, Kind, for_every_database, lease_request, relay};

for_every_database!(
    a_lease_is_taken_renewed_and_given_up,
    a_lease_that_ran_out_can_be_taken,
    a_clock_set_back_keeps_nobody_alive,
    one_of_many_takers_wins,
    relays_come_and_go,
    a_clock_set_back_a_little_ends_no_lease,
    a_lease_that_somebody_holds_locked_is_left_alone,
);

fn owners(report: &LeaseReport) -> Vec<Option<RelayId>> {
    report.leases.iter().map(|lease| lease.owner.filter(|_| lease.live)).collect()
}

fn epochs(report: &LeaseReport) -> Vec<i64> {
    report.leases.iter().map(|lease| lease.epoch.0).collect()
}

async fn a_lease_is_taken_renewed_and_given_up<DB: Kind>(bed: Bed<DB>) {
    let (one, two) = (relay(), relay());
    let report = bed.lease(one, &[0, 1]).await;
    assert_eq!(owners(&report), [Some(one), Some(one), None, None]);
    assert_eq!(epochs(&report), [1, 1, 0, 0]);
    assert_eq!(report.tx.is_some(), DB::NAME == "PostgreSQL");
    let report = bed.lease(two, &[1, 2, 3]).await;
    assert_eq!(owners(&report), [Some(one), Some(one), Some(two), Some(two)]);
    let report = bed.lease(one, &[]).await;
    assert_eq!(epochs(&report), [1, 1, 1, 1], "renewing changes no epoch");
    let leases = report.leases;
    let mut stale = leases[1].epoch;
    stale.0 -= 1;
    let release = vec![(Partition(0), leases[0].epoch), (Partition(1), stale)];
    let release = LeaseRequest { release, ..lease_request(one, &[]) };
    let report = bed.store.lease(&release).await.unwrap();
    assert_eq!(owners(&report), [None, Some(one), Some(two), Some(two)]);
    assert_eq!(report.leases[0].owner, None);
    let report = bed.lease(two, &[0]).await;
    assert_eq!(epochs(&report), [2, 1, 1, 1]);
    let leaving = LeaseRequest { leaving: true, ..lease_request(two, &[1]) };
    let report = bed.store.lease(&leaving).await.unwrap();
    assert_eq!(owners(&report), [None, Some(one), None, None]);
    assert!(report.relays.iter().all(|relay| relay.id == one));
    // What one call reports is what the next one finds.
    assert_eq!(bed.lease(one, &[]).await.leases, report.leases);
}

/// FAILURES row 15. Seen to fail with a lease that is live as long as it has an owner.
async fn a_lease_that_ran_out_can_be_taken<DB: Kind>(bed: Bed<DB>) {
    let (one, two) = (relay(), relay());
    let short =
        LeaseRequest { ttl: Duration::from_millis(300), ..lease_request(one, &[0, 1, 2, 3]) };
    assert_eq!(owners(&bed.store.lease(&short).await.unwrap()), [Some(one); 4]);
    assert_eq!(owners(&bed.lease(two, &[0, 1]).await), [Some(one); 4]);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let report = bed.lease(two, &[0, 1]).await;
    assert_eq!(owners(&report), [Some(two), Some(two), None, None]);
    assert_eq!(report.leases[2].owner, Some(one), "nobody has replaced it yet");
    let report = bed.store.lease(&short).await.unwrap();
    assert_eq!(owners(&report), [Some(two), Some(two), Some(one), Some(one)]);
    assert_eq!(epochs(&report), [2, 2, 1, 1], "who was not replaced goes on under its epoch");
}

/// FAILURES row 21. Seen to fail with a lease that is live however far ahead it ends.
async fn a_clock_set_back_keeps_nobody_alive<DB: Kind>(bed: Bed<DB>) {
    let (one, two) = (relay(), relay());
    bed.lease(one, &[0, 1, 2, 3]).await;
    // A clock that was an hour ahead left an expiry that no lease of this length can have.
    let later = match DB::NAME {
        "PostgreSQL" => "expires_at + interval '1 hour'",
        "MySQL" => "TIMESTAMPADD(HOUR, 1, expires_at)",
        _ => "expires_at + 3600000000",
    };
    for table in ["_lease", "_relay"] {
        bed.execute(format!("UPDATE {} SET expires_at = {later}", bed.table(table))).await;
    }
    let report = bed.lease(two, &[0, 1]).await;
    assert_eq!(owners(&report), [Some(two), Some(two), None, None]);
    assert_eq!(report.relays.iter().map(|relay| relay.id).collect::<Vec<_>>(), [two]);
}

/// FAILURES row 21. Seen to fail with `expires_at <= now + ttl`, as it was once.
async fn a_clock_set_back_a_little_ends_no_lease<DB: Kind>(bed: Bed<DB>) {
    let (one, two) = (relay(), relay());
    let request = LeaseRequest { ttl: Duration::from_mins(1), ..lease_request(one, &[0, 1, 2, 3]) };
    bed.store.lease(&request).await.unwrap();
    let later = match DB::NAME {
        "PostgreSQL" => "expires_at + interval '30 seconds'",
        "MySQL" => "TIMESTAMPADD(SECOND, 30, expires_at)",
        _ => "expires_at + 30000000",
    };
    for table in ["_lease", "_relay"] {
        bed.execute(format!("UPDATE {} SET expires_at = {later}", bed.table(table))).await;
    }
    let report = bed.lease(two, &[0, 1, 2, 3]).await;
    assert_eq!(owners(&report), [Some(one); 4]);
    assert_eq!(report.relays.len(), 2);
}

/// A relay that died in mid-transaction may hold a row until the server notices.
///
/// Seen to fail without `SKIP LOCKED`.
async fn a_lease_that_somebody_holds_locked_is_left_alone<DB: Kind>(bed: Bed<DB>) {
    if DB::NAME == "SQLite" {
        // It has one writer at a time, and who dies releases the file.
        return;
    }
    let one = relay();
    bed.lease(one, &[0, 2]).await;
    let mut held = bed.pool().begin().await.unwrap();
    let hold =
        format!("SELECT epoch FROM {} WHERE partition_no = 1 FOR UPDATE", bed.table("_lease"));
    DB::raw(&mut held, &hold).await;
    let patience = Duration::from_millis(200);
    let config = outbox_sqlx::StoreConfig {
        lock_timeout: patience,
        conflict_retries: 0,
        ..outbox_sqlx::StoreConfig::default()
    };
    let store = bed.store_with(config).await;
    let report = store.lease(&lease_request(one, &[1, 3])).await.unwrap();
    assert_eq!(owners(&report), [Some(one), None, Some(one), Some(one)]);
    held.rollback().await.unwrap();
    let report = store.lease(&lease_request(one, &[1])).await.unwrap();
    assert_eq!(owners(&report), [Some(one); 4]);
}

async fn one_of_many_takers_wins<DB: Kind>(bed: Bed<DB>) {
    let bed = std::sync::Arc::new(bed);
    for round in 1..=5 {
        let mut takers = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let bed = std::sync::Arc::clone(&bed);
            takers.spawn(async move {
                let id = relay();
                let store = bed.outbox.store().await.unwrap();
                let request = LeaseRequest {
                    ttl: Duration::from_mins(1),
                    ..lease_request(id, &[3, 1, 0, 2])
                };
                (id, store.lease(&request).await.unwrap())
            });
        }
        let reports = takers.join_all().await;
        let own = |(id, report): &(RelayId, LeaseReport)| {
            owners(report).iter().filter(|owner| **owner == Some(*id)).count()
        };
        assert_eq!(reports.iter().map(own).sum::<usize>(), 4, "each partition has one owner");
        let report = bed.lease(relay(), &[]).await;
        assert_eq!(epochs(&report), [round; 4]);
        bed.execute(format!("UPDATE {} SET ttl = 0", bed.table("_lease"))).await;
    }
}

async fn relays_come_and_go<DB: Kind>(bed: Bed<DB>) {
    let (one, two, three) = (relay(), relay(), relay());
    bed.lease(one, &[]).await;
    let sick = LeaseRequest { sick: true, ..lease_request(two, &[]) };
    bed.store.lease(&sick).await.unwrap();
    let short = LeaseRequest { ttl: Duration::from_millis(20), ..lease_request(three, &[]) };
    bed.store.lease(&short).await.unwrap();
    tokio::time::sleep(Duration::from_millis(40)).await;
    let mut relays = bed.lease(one, &[]).await.relays;
    relays.sort_unstable_by_key(|relay| relay.sick);
    assert_eq!(
        relays.iter().map(|relay| (relay.id, relay.sick)).collect::<Vec<_>>(),
        [(one, false), (two, true)]
    );
    assert_eq!(bed.count("_relay").await, 3, "who is late may come back");
    tokio::time::sleep(Duration::from_millis(250)).await;
    bed.lease(one, &[]).await;
    assert_eq!(bed.count("_relay").await, 2, "who died long ago is forgotten");
}
