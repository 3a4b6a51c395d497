//! What the suites can't ask of a real database: rewound places, stepping clocks, generations.

use std::time::Duration;

use outbox_core::{
    DeadChange, DeadFilter, Epoch, Fate, FetchRequest, LeaseRequest, Message, Page, Partition,
    PartitionRead, Reason, RelayId, RowRef, Seq, SettleRequest, TxId, Verdict, VerdictAnswer,
    Visibility,
};
use uuid::Uuid;

use super::{Database, Sabotage};

const NOW: Duration = Duration::from_secs(1000);
const TTL: Duration = Duration::from_secs(10);
const P: Partition = Partition(0);

fn message() -> Message {
    Message::bytes("t", "").key("k").build().unwrap()
}

fn relay(n: u128) -> RelayId {
    RelayId(Uuid::from_u128(n))
}

fn take(relay: RelayId) -> LeaseRequest {
    let (take, release) = (vec![P], Vec::new());
    LeaseRequest { relay, ttl: TTL, take, release, sick: false, leaving: false }
}

fn fetch(database: &Database) -> Page {
    let read = PartitionRead {
        partition: P,
        after: Seq::START,
        limit: 100,
        bytes: u64::MAX,
        parked: true,
    };
    let request = FetchRequest { reads: vec![read], horizon: Seq::START, look_limit: 100 };
    database.fetch(NOW, &request)
}

fn all() -> DeadChange {
    DeadChange::new("test", DeadFilter::default())
}

fn bury(database: &mut Database, seq: Seq, id: Uuid, epoch: Epoch) -> VerdictAnswer {
    decide(database, RowRef { partition: P, seq, id }, epoch, Fate::Dead)
}

fn decide(database: &mut Database, row: RowRef, epoch: Epoch, fate: Fate) -> VerdictAnswer {
    let verdict = Verdict { row, epoch, attempts: 1, error: Reason::new("dead"), fate };
    let request = SettleRequest { relay: relay(1), delivered: Vec::new(), verdicts: vec![verdict] };
    database.settle(NOW, &request).verdicts[0]
}

/// Two messages of one key, of which the first is dead.
fn with_a_dead_head() -> (Database, Seq) {
    with_a_head(|_| Fate::Dead)
}

/// The same, but the second is to wait for the first.
fn with_a_parked_lane() -> (Database, Seq) {
    with_a_head(|behind| Fate::Parked { behind })
}

fn with_a_head(fate: impl FnOnce(Uuid) -> Fate) -> (Database, Seq) {
    let mut database = Database::new(1, Visibility::Snapshot);
    let head = message();
    let seqs = database.enqueue(NOW, [head.clone(), message()]).unwrap();
    let epoch = database.lease(NOW, &take(relay(1))).leases[0].epoch;
    let row = RowRef { partition: P, seq: seqs[0], id: head.id() };
    let answer = decide(&mut database, row, epoch, fate(head.id()));
    assert_eq!(answer, VerdictAnswer::Applied);
    assert_eq!(database.died(), [head.id()]);
    (database, seqs[0])
}

#[test]
fn ids_are_assigned_at_the_first_insert() {
    let mut database = Database::new(1, Visibility::Snapshot);
    let (idle, writing) = (database.begin().unwrap(), database.begin().unwrap());
    assert_eq!(fetch(&database).xmin, Some(TxId(1)));
    database.insert(NOW, writing, message());
    database.insert(NOW, idle, message());
    assert_eq!(fetch(&database).xmin, Some(TxId(1)));
    database.commit(writing);
    assert_eq!(fetch(&database).xmin, Some(TxId(2)));
    database.rollback(idle);
    assert_eq!(fetch(&database).xmin, Some(TxId(3)));
    assert_eq!(fetch(&database).rows.len(), 1);
}

#[test]
fn an_ordered_database_has_one_writer() {
    let mut database = Database::new(1, Visibility::Ordered);
    let first = database.begin().unwrap();
    assert_eq!(database.begin(), None);
    assert_eq!(database.enqueue(NOW, [message()]), None);
    database.rollback(first);
    assert!(database.begin().is_some());
}

#[test]
fn a_rewound_sequence_gives_out_free_places_again() {
    let mut database = Database::new(1, Visibility::Snapshot);
    let sent = [message(), message(), message()];
    let seqs = database.enqueue(NOW, sent.clone()).unwrap();
    let row = RowRef { partition: P, seq: seqs[1], id: sent[1].id() };
    let request = SettleRequest { relay: relay(1), delivered: vec![row], verdicts: Vec::new() };
    database.settle(NOW, &request);
    database.rewind(Seq::START);
    let again = database.enqueue(NOW, [message(), message()]).unwrap();
    assert_eq!(again, [seqs[1], Seq(seqs[2].0 + 1)]);
    // The old delivery, reported once more, is not that of the new row.
    database.settle(NOW, &request);
    assert_eq!(database.backlog(), 4);
    assert_eq!(database.counters().delivered, 1);
    assert_eq!(database.counters().delivered_gone, 1);
    database.sabotage(Sabotage::DeleteBySeq);
    database.settle(NOW, &request);
    assert_eq!(database.backlog(), 3);
}

#[test]
fn a_clock_that_steps_back_does_not_keep_the_dead_alive() {
    let mut database = Database::new(1, Visibility::Snapshot);
    database.lease(NOW, &take(relay(1)));
    let earlier = NOW.checked_sub(TTL + Duration::from_millis(1)).unwrap();
    let report = database.lease(earlier, &take(relay(2)));
    assert_eq!((report.leases[0].owner, report.leases[0].epoch), (Some(relay(2)), Epoch(2)));
    assert_eq!(report.relays.len(), 1);
    assert_eq!(database.counters().leases_taken_over, 1);
}

#[test]
fn a_clock_that_is_corrected_ends_no_lease() {
    let mut database = Database::new(1, Visibility::Snapshot);
    database.lease(NOW, &take(relay(1)));
    let earlier = NOW.checked_sub(TTL / 2).unwrap();
    let report = database.lease(earlier, &take(relay(2)));
    assert_eq!(report.leases[0].owner, Some(relay(1)));
}

#[test]
fn a_lease_ends_at_its_instant() {
    let mut database = Database::new(1, Visibility::Snapshot);
    database.lease(NOW, &take(relay(1)));
    let before = NOW + Duration::from_millis(9_999);
    assert_eq!(database.lease(before, &take(relay(2))).leases[0].owner, Some(relay(1)));
    assert_eq!(database.lease(NOW + TTL, &take(relay(2))).leases[0].owner, Some(relay(2)));
}

#[test]
fn stale_verdicts_are_counted() {
    let (mut database, _) = with_a_dead_head();
    let row = fetch(&database).rows.remove(0);
    let answer = bury(&mut database, row.seq, row.message.id(), Epoch(9));
    assert_eq!(answer, VerdictAnswer::EpochLost);
    assert_eq!(database.counters().stale_refused, 1);
    assert_eq!(database.counters().dead_lettered, 1);
    database.sabotage(Sabotage::NoFence);
    let answer = bury(&mut database, row.seq, row.message.id(), Epoch(9));
    assert_eq!(answer, VerdictAnswer::Applied);
    assert_eq!(database.dead().count(), 2);
}

#[test]
fn the_redrive_of_a_parked_lane_is_told_by_the_generation() {
    let (mut database, seq) = with_a_parked_lane();
    let before = fetch(&database).generations;
    assert_eq!(database.redrive(NOW, &all()), 1);
    assert_eq!(fetch(&database).rows[0].seq, seq);
    assert_ne!(fetch(&database).generations, before);
}

#[test]
fn a_parked_lane_waits_for_its_place() {
    let (mut database, seq) = with_a_parked_lane();
    database.rewind(Seq::START);
    assert_eq!(database.enqueue(NOW, [message()]).unwrap(), [seq]);
    assert_eq!(database.redrive(NOW, &all()), 0);
    assert_eq!(database.dead().count(), 1);
}

#[test]
fn a_sabotaged_generation_stays() {
    let (mut database, _) = with_a_parked_lane();
    database.sabotage(Sabotage::SameGeneration);
    let before = fetch(&database).generations;
    assert_eq!(database.redrive(NOW, &all()), 1);
    assert_eq!(fetch(&database).generations, before);
}
