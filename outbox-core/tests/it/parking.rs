//! Parked lanes: what comes after a dead message waits with it, and comes back in order.

use std::collections::HashMap;
use std::time::Duration;

use outbox_core::relay::{
    Backoff, Command, DeadLetterPolicy, DestinationSpec, Event, Input, RelayConfig, RetryPolicy,
    StoreFailure,
};
use outbox_core::{
    BatchLimits, DeadChange, DeadFilter, Message, Ordering, Outcome, StoreErrorKind, Visibility,
};
use outbox_testkit::memory::{Database, Sabotage};
use uuid::Uuid;

use crate::bench::Bench;

pub(crate) fn config() -> RelayConfig {
    let backoff = Backoff { first: Duration::from_millis(5), cap: Duration::from_millis(20) };
    RelayConfig {
        dead_letters: DeadLetterPolicy::Park,
        retry: RetryPolicy { max_attempts: 1, backoff },
        ..RelayConfig::default()
    }
}

pub(crate) fn all() -> DeadChange {
    DeadChange::new("test", DeadFilter::default())
}

fn refuse(poison: Uuid) -> impl FnMut(&Message) -> Outcome {
    move |message| {
        if message.id() == poison {
            Outcome::Rejected("refused".into())
        } else {
            Outcome::Delivered
        }
    }
}

/// Delivers all that can be, and returns it in order.
pub(crate) fn deliver(bench: &mut Bench, poison: Uuid) -> Vec<Uuid> {
    let mut sent = Vec::new();
    let mut outcome = refuse(poison);
    bench.drive(300, |message| {
        let outcome = outcome(message);
        if outcome == Outcome::Delivered {
            sent.push(message.id());
        }
        outcome
    });
    sent
}

#[test]
fn a_parked_lane_waits_and_comes_back_in_front_of_newer_messages() {
    let mut bench = Bench::with(Ordering::Independent, config());
    let sent: Vec<Uuid> = bench.enqueue(&["a", "a", "b", "a"]).iter().map(Message::id).collect();
    assert_eq!(deliver(&mut bench, sent[0]), [sent[2]]);
    let later = bench.enqueue(&["a", "b"]).iter().map(Message::id).collect::<Vec<_>>();
    assert_eq!(deliver(&mut bench, sent[0]), [later[1]]);
    let stats = bench.database.stats(bench.now);
    assert_eq!((stats.depth, stats.dead, stats.parked), (0, 1, 3));
    assert_eq!((bench.machine.parked_lanes(), bench.machine.in_memory()), (1, 0));
    let follows =
        |event: &&Event| matches!(event, Event::Parked { behind, .. } if *behind == sent[0]);
    assert_eq!(bench.events.iter().filter(follows).count(), 3);

    // Newer ones that are committed before the redrive is seen don't pass.
    let newest = bench.enqueue(&["a"])[0].id();
    assert_eq!(bench.database.redrive(bench.now, &all()), 4);
    let all = [sent[0], sent[1], sent[3], later[0], newest];
    assert_eq!(deliver(&mut bench, Uuid::nil()), all);
    assert_eq!(bench.machine.parked_lanes(), 0);
}

#[test]
fn a_message_that_dies_again_parks_its_lane_again() {
    let mut bench = Bench::with(Ordering::Independent, config());
    let sent: Vec<Uuid> = bench.enqueue(&["a", "a"]).iter().map(Message::id).collect();
    for _ in 0..3 {
        assert!(deliver(&mut bench, sent[0]).is_empty());
        assert_eq!(bench.database.stats(bench.now).parked, 1);
        assert_eq!(bench.database.redrive(bench.now, &all()), 2);
    }
    assert_eq!(deliver(&mut bench, Uuid::nil()), sent);
}

#[test]
fn a_discarded_message_frees_what_waits_behind_it() {
    let mut bench = Bench::with(Ordering::Independent, config());
    let sent: Vec<Uuid> = bench.enqueue(&["a", "a", "a"]).iter().map(Message::id).collect();
    assert!(deliver(&mut bench, sent[0]).is_empty());
    assert_eq!(bench.database.discard(bench.now, &all()), 1, "only what died is deleted");
    assert_eq!(deliver(&mut bench, Uuid::nil()), sent[1..]);
}

#[test]
fn a_message_without_a_key_is_skipped() {
    let mut bench = Bench::with(Ordering::Independent, config());
    let message = Message::bytes("t", "x").build().unwrap();
    bench.database.enqueue(bench.now, [message.clone()]).unwrap();
    assert!(deliver(&mut bench, message.id()).is_empty());
    assert_eq!(bench.machine.parked_lanes(), 0);
    assert_eq!(bench.database.dead_letters(bench.now, &all().filter, 9)[0].behind, None);
}

/// Seen to fail where a message with the id of the one that died was taken for that one, put back:
/// the relay read everything again and again.
#[test]
fn a_message_that_was_enqueued_twice_is_parked_too() {
    let mut bench = Bench::with(Ordering::Independent, config());
    let twice = Message::bytes("t", "x").key("a").build().unwrap();
    let between = Message::bytes("t", "x").key("a").build().unwrap();
    let all_of_them = [twice.clone(), between.clone(), twice.clone()];
    bench.database.enqueue(bench.now, all_of_them).unwrap();
    assert!(deliver(&mut bench, twice.id()).is_empty());
    assert_eq!((bench.database.backlog(), bench.database.dead().count()), (0, 3));
    assert_eq!(bench.database.redrive(bench.now, &all()), 3);
    assert_eq!(deliver(&mut bench, Uuid::nil()), [twice.id(), between.id(), twice.id()]);
}

/// Without asking again what a lost answer was about, the lane would go on.
#[test]
fn a_lane_is_parked_though_the_answer_to_the_verdict_was_lost() {
    let mut bench = Bench::with(Ordering::Independent, config());
    let sent: Vec<Uuid> = bench.enqueue(&["a", "a"]).iter().map(Message::id).collect();
    bench.fetch();
    let batch = bench.batch();
    bench.published(&batch, vec![Outcome::Rejected("refused".into())]);
    let request = bench.next(|command| match command {
        Command::Settle(request) => Some(request.clone()),
        _ => None,
    });
    bench.database.settle(bench.now, &request);
    let failure = StoreFailure { kind: StoreErrorKind::Unavailable, reason: "reset".into() };
    bench.tell(Input::Settled(Err(failure)));
    assert!(deliver(&mut bench, Uuid::nil()).is_empty());
    assert_eq!(bench.database.stats(bench.now).parked, 1);
    bench.database.redrive(bench.now, &all());
    assert_eq!(deliver(&mut bench, Uuid::nil()), sent);
}

/// A redrive commits between a page, which shows a follower, and the verdict that parks it.
#[test]
fn a_redrive_between_a_page_and_its_verdicts_strands_nothing() {
    let mut bench = Bench::with(Ordering::Independent, config());
    let mut sent: Vec<Uuid> = bench.enqueue(&["a", "a"]).iter().map(Message::id).collect();
    assert!(deliver(&mut bench, sent[0]).is_empty());
    sent.push(bench.enqueue(&["a"])[0].id());
    bench.fetch();
    bench.database.redrive(bench.now, &all());
    bench.settle();
    assert_eq!(bench.database.counters().not_parked, 1);
    assert_eq!(deliver(&mut bench, Uuid::nil()), sent);
}

/// What was drawn in one run, so that an empty run is visible.
#[derive(Debug, Default)]
struct Drawn {
    parked: u64,
    not_parked: u64,
    redriven: u64,
    discarded: u64,
    restarts: u64,
}

/// Calls of the store take effect at one moment and are answered at a later one; the relay dies,
/// answers are lost, and an operator redrives and discards meanwhile. Messages of a key must be
/// accepted in the order in which they were committed, dead ones among them unless discarded.
fn run(seed: u64, sabotage: Option<Sabotage>) -> Result<Drawn, String> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let ordering = rng.choice([Ordering::Independent, Ordering::PrefixPerKey]).unwrap();
    let visibility = rng.choice([Visibility::Snapshot, Visibility::Ordered]).unwrap();
    let spec = DestinationSpec { ordering, limits: BatchLimits::default() };
    let mut relay = 0;
    let mut start = |database, now| {
        relay += 1;
        Bench::over(database, now, config(), (spec, 1), relay)
    };
    let mut bench = start(Database::new(2, visibility), Duration::ZERO);
    if let Some(sabotage) = sabotage {
        bench.database.sabotage(sabotage);
    }
    let mut world = World::default();
    for step in 0..1500 {
        let calm = step >= 700;
        if !calm {
            world.meddle(&mut bench, &mut rng, &mut start);
        } else if step % 100 == 0 {
            bench.database.redrive(bench.now, &all());
        }
        world.step(&mut bench, &mut rng, calm);
    }
    let counters = bench.database.counters();
    world.drawn.parked = counters.parked;
    world.drawn.not_parked = counters.not_parked;
    world.judge(&bench)?;
    Ok(world.drawn)
}

#[derive(Default)]
struct World {
    /// What the database did and the relay doesn't know yet.
    answers: Vec<Input>,
    /// The messages of each key in the order of their commits.
    written: HashMap<String, Vec<Uuid>>,
    accepted: HashMap<String, Vec<Uuid>>,
    discarded: Vec<Uuid>,
    drawn: Drawn,
}

impl World {
    fn meddle(
        &mut self,
        bench: &mut Bench,
        rng: &mut fastrand::Rng,
        start: &mut dyn FnMut(Database, Duration) -> Bench,
    ) {
        match rng.u32(0..40) {
            0..8 => {
                let key = rng.choice(["a", "b", "c"]).unwrap();
                let id = bench.enqueue(&[key])[0].id();
                self.written.entry(key.to_owned()).or_default().push(id);
                bench.tell(Input::Woken);
            }
            8 => {
                self.drawn.redriven += bench.database.redrive(bench.now, &all());
            }
            9 => {
                let mut died = bench.database.dead_letters(bench.now, &all().filter, 1000);
                died.retain(|letter| !letter.waits());
                let Some(one) = rng.choice(&died) else { return };
                let id = one.message.id();
                let filter = DeadFilter { id: Some(id), ..DeadFilter::default() };
                let change = DeadChange::new("test", filter);
                if bench.database.discard(bench.now, &change) > 0 {
                    self.discarded.push(id);
                    self.drawn.discarded += 1;
                }
            }
            10 if rng.u32(0..4) == 0 => {
                // Another relay takes over once the leases of this one have run out.
                let now = bench.now + config().lease;
                *bench = start(bench.database.clone(), now);
                self.answers.clear();
                self.drawn.restarts += 1;
            }
            _ => {}
        }
    }

    /// Carries a command out, tells an answer, or waits.
    fn step(&mut self, bench: &mut Bench, rng: &mut fastrand::Rng, calm: bool) {
        if !self.answers.is_empty() && rng.bool() {
            let answer = self.answers.swap_remove(rng.usize(..self.answers.len()));
            return bench.tell(answer);
        }
        if let Some(command) = bench.commands.pop_front() {
            let lost = !calm && rng.u32(0..25) == 0;
            let answer = self.carry_out(bench, rng, command, calm);
            return self.answers.push(if lost { lose(answer) } else { answer });
        }
        if let Some(answer) = self.answers.pop() {
            return bench.tell(answer);
        }
        if let Some(at) = bench.machine.poll_timeout() {
            bench.now = bench.now.max(at);
            bench.tell(Input::Timeout);
        }
    }

    fn carry_out(
        &mut self,
        bench: &mut Bench,
        rng: &mut fastrand::Rng,
        command: Command,
        calm: bool,
    ) -> Input {
        let (now, database) = (bench.now, &mut bench.database);
        match command {
            Command::Lease(request) => Input::Leased(Ok(database.lease(now, &request))),
            Command::Fetch(request) => Input::Fetched(Ok(database.fetch(now, &request))),
            Command::Reread(request) => Input::Reread(Ok(database.reread(now, &request))),
            Command::Settle(request) => Input::Settled(Ok(database.settle(now, &request))),
            Command::Publish(batch) => {
                let mut stopped: Vec<String> = Vec::new();
                let mut outcomes = Vec::new();
                for message in &batch.messages {
                    let key = message.key().unwrap_or_default().to_owned();
                    if stopped.contains(&key) || (!calm && rng.u32(0..4) == 0) {
                        stopped.push(key);
                        outcomes.push(Outcome::Rejected("refused".into()));
                        continue;
                    }
                    self.accepted.entry(key).or_default().push(message.id());
                    outcomes.push(Outcome::Delivered);
                }
                Input::Published(batch.id, outcomes)
            }
        }
    }

    fn judge(&self, bench: &Bench) -> Result<(), String> {
        let stats = bench.database.stats(bench.now);
        if (stats.depth, stats.dead, stats.parked) != (0, 0, 0) {
            return Err(format!("left: {stats:?} in {:?}", bench.machine));
        }
        for (key, written) in &self.written {
            let mut first = Vec::new();
            for id in self.accepted.get(key).into_iter().flatten() {
                if !first.contains(id) {
                    first.push(*id);
                }
            }
            // Some were discarded, perhaps after they had arrived without the relay's knowing.
            let wanted: Vec<_> = written
                .iter()
                .filter(|id| !self.discarded.contains(id) || first.contains(id))
                .copied()
                .collect();
            if first != wanted {
                let at = first.iter().zip(&wanted).position(|(one, other)| one != other);
                return Err(format!("key {key} from {at:?} on: {first:?} instead of {wanted:?}"));
            }
        }
        Ok(())
    }
}

fn lose(answer: Input) -> Input {
    let failure = StoreFailure { kind: StoreErrorKind::Unavailable, reason: "lost".into() };
    match answer {
        Input::Leased(_) => Input::Leased(Err(failure)),
        Input::Fetched(_) => Input::Fetched(Err(failure)),
        Input::Reread(_) => Input::Reread(Err(failure)),
        Input::Settled(_) => Input::Settled(Err(failure)),
        other => other,
    }
}

#[test]
fn whatever_happens_a_parked_lane_keeps_its_order() {
    let mut all = Drawn::default();
    for seed in 0..400 {
        let drawn = run(seed, None).unwrap_or_else(|error| panic!("seed {seed}: {error}"));
        all.parked += drawn.parked;
        all.not_parked += drawn.not_parked;
        all.redriven += drawn.redriven;
        all.discarded += drawn.discarded;
        all.restarts += drawn.restarts;
    }
    let Drawn { parked, not_parked, redriven, discarded, restarts } = all;
    let rare = [parked, not_parked, redriven, discarded, restarts].into_iter().min().unwrap();
    assert!(rare >= 50, "{all:?}");
}

#[test]
fn every_broken_protection_of_parking_is_noticed() {
    for sabotage in [Sabotage::HideParked, Sabotage::ParkUnchecked, Sabotage::SameGeneration] {
        let noticed = (0..400).any(|seed| run(seed, Some(sabotage)).is_err());
        assert!(noticed, "{sabotage:?}");
    }
}
