//! What a schedule is made of, drawn from its seed.

use std::time::Duration;

use outbox_core::relay::{Backoff, DeadLetterPolicy, RelayConfig, RetryPolicy};
use outbox_core::{Ordering, Visibility};

use crate::memory::Sabotage;

/// The parameters of one schedule. Everything else follows from `seed` too.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Names the schedule.
    pub seed: u64,
    /// How rows become visible.
    pub visibility: Visibility,
    /// What the broker's client keeps.
    pub ordering: Ordering,
    /// Publishers, each with topics of its own.
    pub destinations: u16,
    /// Partitions of the outbox.
    pub partitions: u16,
    /// Relays that run, one after the other or side by side.
    pub relays: usize,
    /// Transactions of the writers.
    pub transactions: usize,
    /// Different keys; some messages have none.
    pub keys: u64,
    /// How often an operator puts dead letters back.
    pub redrives: usize,
    /// Looks behind the cursors return a few rows at first, and more when they are asked for again.
    pub short_looks: bool,
    /// What can go wrong.
    pub faults: Faults,
    /// The relays' settings.
    pub config: RelayConfig,
    /// A protection of the database that is broken on purpose.
    pub sabotage: Option<Sabotage>,
}

/// What goes wrong in a schedule, as probabilities and counts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Faults {
    /// A message that fails at its first tries.
    pub failing: f64,
    /// A message that the broker rejects for ever.
    pub rejected: f64,
    /// A row that can't be read whole.
    pub defective: f64,
    /// A message that breaks the connection of every batch it is in.
    pub breaking: f64,
    /// A publish whose acknowledgement is lost.
    pub ack_lost: f64,
    /// A publish that is never sent, though the client doesn't know.
    pub send_lost: f64,
    /// A call of the store that fails before or after its effect.
    pub store_call: f64,
    /// Relays that are killed, and start again under another identity.
    pub crashes: usize,
    /// Relays that stand still for longer than their lease.
    pub pauses: usize,
    /// Outages of the database.
    pub database_outages: usize,
    /// Outages of the broker.
    pub broker_outages: usize,
    /// Connections to the broker that break with acknowledgements under way.
    pub broker_resets: usize,
    /// Corrections of the database's clock, by less than half a lease.
    pub clock_steps: usize,
    /// Steps of the database's clock by half a lease or more: who owns what is uncertain for a while.
    pub clock_leaps: usize,
    /// Places given out again, as after a restore.
    pub rewinds: usize,
}

impl Faults {
    /// Whether any of them can make a duplicate.
    pub fn can_duplicate(&self) -> bool {
        let Self { failing, rejected, defective, .. } = *self;
        let none = Self { failing, rejected, defective, ..Self::default() };
        *self != none
    }
}

impl Scenario {
    /// Draws a schedule. One in four has nothing that could make a duplicate.
    pub fn draw(seed: u64) -> Self {
        let mut rng = fastrand::Rng::with_seed(seed);
        let age = Duration::from_millis(400);
        let visibility = [
            Visibility::Ordered,
            Visibility::Snapshot,
            Visibility::Snapshot,
            Visibility::Within(age),
        ][rng.usize(..4)];
        let ordering = [Ordering::Independent, Ordering::PrefixPerKey][rng.usize(..2)];
        let mut faults =
            if rng.u8(..4) == 0 { Faults::harmless(&mut rng) } else { Faults::draw(&mut rng) };
        let mut config = config(&mut rng);
        if faults.breaking > 0.0 {
            // In a window that such messages fill, nothing can pass that would tell them from an
            // outage; and what is known of them is forgotten whenever the store fails.
            config.window_messages = 64;
            config.window_bytes = 100_000;
            config.held_lanes = 100;
            config.full_look = Duration::from_secs(1000);
            config.retry.max_attempts = 3;
            faults.store_call = 0.0;
        }
        Self {
            seed,
            visibility,
            ordering,
            destinations: rng.u16(1..3),
            partitions: rng.u16(1..7),
            relays: [1, 2, 2, 3, 3, 4, 5][rng.usize(..7)],
            transactions: rng.usize(5..50),
            keys: rng.u64(1..9),
            redrives: if rng.u8(..4) == 0 { rng.usize(1..4) } else { 0 },
            short_looks: rng.u8(..4) == 0,
            faults,
            config,
            sabotage: None,
        }
    }
}

/// Small windows and short times, so that every bound is reached within a few dozen messages.
fn config(rng: &mut fastrand::Rng) -> RelayConfig {
    use DeadLetterPolicy::{Park, Skip};

    let lease = Duration::from_millis(rng.u64(600..2000));
    RelayConfig {
        dead_letters: *rng.choice(&[Skip, Skip, Park]).expect("there are some"),
        lease,
        publish_timeout: lease.mul_f64(0.2 + rng.f64() * 0.3),
        window_messages: [1, 3, 8, 64][rng.usize(..4)],
        window_bytes: [200, 2_000, 100_000][rng.usize(..3)],
        concurrency: rng.usize(1..4),
        settle_batch: [1, 3, 100][rng.usize(..3)],
        retry: RetryPolicy {
            max_attempts: rng.u32(3..9),
            backoff: Backoff { first: Duration::from_millis(20), cap: Duration::from_millis(400) },
        },
        poll: Backoff { first: Duration::from_millis(5), cap: Duration::from_millis(200) },
        breaker: Backoff { first: Duration::from_millis(20), cap: Duration::from_millis(300) },
        store_retry: Backoff { first: Duration::from_millis(10), cap: Duration::from_millis(200) },
        throttle_cap: Duration::from_millis(300),
        held_lanes: [2, 100][rng.usize(..2)],
        stuck_after: Duration::from_secs(5),
        full_look: Duration::from_millis(1500),
    }
}

impl Faults {
    /// Messages that fail, and nothing else.
    fn harmless(rng: &mut fastrand::Rng) -> Self {
        let (failing, rejected) = (rng.f64() * 0.3, rng.f64() * 0.1);
        Self { failing, rejected, defective: rng.f64() * 0.05, ..Self::default() }
    }

    /// Each kind is there in half of the schedules, so that they meet in all combinations.
    fn draw(rng: &mut fastrand::Rng) -> Self {
        fn maybe(rng: &mut fastrand::Rng, most: f64) -> f64 {
            if rng.bool() { rng.f64() * most } else { 0.0 }
        }
        fn some(rng: &mut fastrand::Rng) -> usize {
            if rng.bool() { rng.usize(1..4) } else { 0 }
        }
        Self {
            failing: maybe(rng, 0.3),
            rejected: maybe(rng, 0.1),
            defective: maybe(rng, 0.1),
            breaking: maybe(rng, 0.05),
            ack_lost: maybe(rng, 0.2),
            send_lost: maybe(rng, 0.2),
            store_call: maybe(rng, 0.15),
            crashes: some(rng),
            pauses: some(rng),
            database_outages: some(rng),
            broker_outages: some(rng),
            broker_resets: some(rng),
            clock_steps: some(rng),
            clock_leaps: if rng.u8(..8) == 0 { rng.usize(1..3) } else { 0 },
            rewinds: usize::from(rng.u8(..8) == 0),
        }
    }
}
