//! Parked lanes, from the verdict to the redrive.

use std::time::Duration;

use outbox_core::{
    DeadChange, DeadFilter, DeadLetter, Epoch, Fate, Page, ParkedLane, Partition, PartitionRead,
    Seq, StoredRow, VerdictAnswer,
};
use uuid::Uuid;

use super::Fixture;
use super::fixture::{ALL, LONG, Relay, ids, message, messages, read, verdict};

/// Parks the messages of a lane, the first of which died.
struct Bed<'f> {
    outbox: &'f Fixture,
    relay: Relay,
    epoch: Epoch,
    rows: Vec<StoredRow>,
}

impl<'f> Bed<'f> {
    async fn new(outbox: &'f Fixture, key: &str, count: usize) -> Self {
        let rows = outbox.rows_of(&messages(key, count)).await;
        let relay = outbox.relay().await;
        let epoch = relay.take(rows[0].partition, LONG).await;
        Self { outbox, relay, epoch, rows }
    }

    fn head(&self) -> Uuid {
        self.rows[0].message.id()
    }

    async fn park(&self, row: &StoredRow) -> VerdictAnswer {
        let attempts = u32::from(row.message.id() == self.head());
        let fate = Fate::Parked { behind: self.head() };
        self.relay.decide(verdict(row, self.epoch, attempts, fate, "parked")).await
    }

    async fn park_all(&self) {
        for row in &self.rows {
            assert_eq!(self.park(row).await, VerdictAnswer::Applied);
        }
    }

    /// What a page tells of the partition.
    async fn page(&self) -> Page {
        let partition = self.rows[0].partition;
        let read = PartitionRead { parked: true, ..read(partition, Seq(i64::MAX - 1)) };
        self.outbox.fetch(vec![read]).await
    }

    async fn generation(&self) -> i64 {
        self.page().await.generations[0].1
    }
}

/// As if they had just been enqueued.
fn fresh(rows: &[StoredRow]) -> Vec<StoredRow> {
    rows.iter().map(|row| StoredRow { attempts: 0, retry_in: None, ..row.clone() }).collect()
}

pub async fn a_parked_lane_waits_and_comes_back_at_its_places(outbox: &Fixture) {
    let bed = Bed::new(outbox, "k", 3).await;
    let other = outbox.rows_of(&[message("other")]).await;
    bed.park_all().await;
    assert_eq!(outbox.pending().await, other);
    let stats = outbox.admin.stats().await.unwrap();
    assert_eq!((stats.depth, stats.dead, stats.parked), (1, 1, 2));
    let letters = outbox.dead().await;
    let behind: Vec<_> = letters.iter().map(|letter| letter.behind).collect();
    assert_eq!(behind, [Some(bed.head()); 3]);
    let waits: Vec<_> = letters.iter().map(DeadLetter::waits).collect();
    assert_eq!(waits, [false, true, true]);
    let before = bed.generation().await;
    assert_eq!(outbox.redrive(&DeadFilter::default(), ALL).await, 3);
    assert_eq!(outbox.dead().await, []);
    let pending = outbox.pending().await;
    assert_eq!(pending[..3], fresh(&bed.rows));
    assert_ne!(bed.generation().await, before, "whoever has read past them must see it");
    assert_eq!(bed.page().await.parked, []);
}

pub async fn only_the_lanes_asked_for_are_told(outbox: &Fixture) {
    let bed = Bed::new(outbox, "Straße 'k'", 2).await;
    bed.park_all().await;
    let partition = bed.rows[0].partition;
    let lane = ParkedLane {
        partition,
        key: "Straße 'k'".into(),
        behind: bed.head(),
        topic: bed.rows[0].message.topic().into(),
    };
    let other = Partition((partition.0 + 1) % outbox.store.partitions());
    let reads = |here, there| {
        let reads = [(partition, here), (other, there)];
        reads.map(|(at, parked)| PartitionRead { parked, ..read(at, Seq::START) }).to_vec()
    };
    let lanes = [lane];
    assert_eq!(outbox.fetch(reads(true, true)).await.parked, lanes);
    assert_eq!(outbox.fetch(reads(true, false)).await.parked, lanes);
    assert_eq!(outbox.fetch(reads(false, true)).await.parked, []);
    assert_eq!(outbox.fetch(reads(false, false)).await.parked, []);
}

/// The answer to the first was lost.
pub async fn a_verdict_that_parked_is_as_good_again(outbox: &Fixture) {
    let bed = Bed::new(outbox, "k", 2).await;
    for row in [0, 0, 1, 1, 0] {
        assert_eq!(bed.park(&bed.rows[row]).await, VerdictAnswer::Applied);
    }
    assert_eq!(outbox.dead().await.len(), 2);
    assert_eq!(bed.page().await.parked.len(), 1);
    let dead = verdict(&bed.rows[0], bed.epoch, 1, Fate::Dead, "another fate");
    assert_eq!(bed.relay.decide(dead).await, VerdictAnswer::Gone);
}

pub async fn nothing_is_parked_behind_what_was_put_back(outbox: &Fixture) {
    let bed = Bed::new(outbox, "k", 2).await;
    assert_eq!(bed.park(&bed.rows[1]).await, VerdictAnswer::NotParked);
    assert_eq!(bed.park(&bed.rows[0]).await, VerdictAnswer::Applied);
    assert_eq!(outbox.redrive(&DeadFilter::default(), ALL).await, 1);
    assert_eq!(bed.park(&bed.rows[1]).await, VerdictAnswer::NotParked);
    assert_eq!(outbox.pending().await, fresh(&bed.rows));
    assert_eq!(outbox.dead().await, []);
    bed.park_all().await;
    assert_eq!(outbox.pending().await, []);
}

pub async fn a_follower_of_another_key_is_not_parked(outbox: &Fixture) {
    let mut keys = outbox.keys_in(Partition(1));
    let bed = Bed::new(outbox, &keys.next().unwrap(), 1).await;
    let other = outbox.rows_of(&[message(&keys.next().unwrap())]).await.remove(0);
    bed.park_all().await;
    assert_eq!(bed.park(&other).await, VerdictAnswer::NotParked);
    assert_eq!(outbox.pending().await, [other]);
}

pub async fn a_stale_owner_parks_nothing(outbox: &Fixture) {
    let bed = Bed::new(outbox, "k", 2).await;
    assert_eq!(bed.park(&bed.rows[0]).await, VerdictAnswer::Applied);
    bed.relay.release(bed.rows[0].partition, bed.epoch).await;
    assert_eq!(bed.park(&bed.rows[1]).await, VerdictAnswer::EpochLost);
    assert_eq!(outbox.pending().await, bed.rows[1..]);
}

/// FAILURES row 6. Whichever of its messages is named: one alone would overtake or miss the others.
pub async fn a_redrive_brings_the_whole_lane(outbox: &Fixture) {
    for named in 0..3 {
        let bed = Bed::new(outbox, "k", 3).await;
        bed.park_all().await;
        let id = Some(bed.rows[named].message.id());
        let filter = DeadFilter { id, ..DeadFilter::default() };
        assert_eq!(outbox.redrive(&filter, 1).await, 3);
        assert_eq!(outbox.pending().await, fresh(&bed.rows));
        let rows: Vec<_> = bed.rows.iter().map(crate::adapter::row_ref).collect();
        outbox.deliver(&rows).await;
        bed.relay.leave().await;
    }
}

/// FAILURES row 6.
pub async fn a_discard_frees_what_waits(outbox: &Fixture) {
    let bed = Bed::new(outbox, "k", 3).await;
    bed.park_all().await;
    let waiting = DeadFilter { id: Some(bed.rows[1].message.id()), ..DeadFilter::default() };
    assert_eq!(outbox.discard(&waiting, ALL).await, 0, "it hasn't died");
    assert_eq!(outbox.dead().await.len(), 3);
    let before = bed.generation().await;
    assert_eq!(outbox.discard(&DeadFilter::default(), ALL).await, 1);
    assert_eq!(outbox.pending().await, fresh(&bed.rows[1..]));
    assert_eq!(outbox.dead().await, []);
    assert_ne!(bed.generation().await, before);
    assert_eq!(bed.page().await.parked, []);
}

pub async fn a_purge_leaves_parked_lanes(outbox: &Fixture) {
    let bed = Bed::new(outbox, "k", 2).await;
    bed.park_all().await;
    outbox.wait(Duration::from_millis(20)).await;
    assert_eq!(outbox.admin.purge(Duration::ZERO, ALL).await.unwrap(), 0);
    assert_eq!(outbox.dead().await.len(), 2);
}

pub async fn a_dry_run_leaves_them_parked(outbox: &Fixture) {
    let bed = Bed::new(outbox, "k", 3).await;
    bed.park_all().await;
    let (dead, page) = (outbox.dead().await, bed.page().await);
    let dry = DeadChange { dry_run: true, ..DeadChange::new("suite", DeadFilter::default()) };
    assert_eq!(outbox.admin.redrive(&dry).await.unwrap(), 3);
    assert_eq!(outbox.admin.discard(&dry).await.unwrap(), 1);
    assert_eq!((outbox.dead().await, bed.page().await.parked), (dead, page.parked));
    assert_eq!(bed.generation().await, page.generations[0].1);
}

pub async fn lanes_of_several_partitions_come_back_at_once(outbox: &Fixture) {
    let mut rows = Vec::new();
    for partition in [0, 1, 2] {
        for key in outbox.keys_in(Partition(partition)).take(2) {
            let bed = Bed::new(outbox, &key, 2).await;
            bed.park_all().await;
            rows.extend(fresh(&bed.rows));
            bed.relay.leave().await;
        }
    }
    // One that was skipped comes back behind them.
    let skipped = outbox.bury(&message("skipped"), "dead").await;
    assert_eq!(outbox.redrive(&DeadFilter::default(), ALL).await, 13);
    let pending = outbox.pending().await;
    assert_eq!(pending[..12], rows);
    assert_eq!(ids(&pending[12..]), [skipped.message.id()]);
}
