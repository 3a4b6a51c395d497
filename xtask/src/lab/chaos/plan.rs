//! What is to go wrong, drawn from the seed before anything runs.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use fastrand::Rng;

/// How long partitions stay with a relay that has died.
pub(super) const LEASE: Duration = Duration::from_secs(4);

/// The longest that publishing a batch may take.
pub(super) const PUBLISH_TIMEOUT: Duration = Duration::from_secs(2);

/// The relay whose clock can be set.
pub(super) const CLOCKED: usize = 0;

/// Where messages are enqueued.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum StoreKind {
    Postgres,
    Mariadb,
    Sqlite,
}

/// Where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum BrokerKind {
    Kafka,
    KafkaTransactional,
    KafkaFenced,
    Nats,
    NatsFenced,
    Rabbitmq,
    Redis,
    Sqs,
}

/// Steps, one after the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Plan {
    pub(super) steps: Vec<Step>,
}

/// A fault and when it strikes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Step {
    /// After the step before it has been recovered from.
    pub(super) pause: Duration,
    pub(super) fault: Fault,
    /// The relay that it strikes, of those that strike one.
    pub(super) relay: usize,
    /// How long it lasts, of those that last.
    pub(super) hold: Duration,
}

/// Everything that can go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    /// A relay dies, by `SIGKILL`.
    RelayKilled,
    /// A relay stands still for longer than its lease.
    RelayStopped,
    /// A relay is asked to end, by `SIGTERM`, and started again.
    RelayTerminated,
    /// A relay's wall clock is set ten minutes ahead or back.
    ClockJump,
    /// Something is wrong with the connections between a relay and what it needs.
    Network(Side, Trouble),
    DatabaseRestarted,
    DatabaseKilled,
    /// The server ends all connections.
    Disconnected,
    /// Every connection that the server has is taken, and a relay wants new ones.
    ConnectionsTaken,
    /// Another writer keeps the file locked.
    FileLocked,
    DiskFull,
    BrokerRestarted,
    BrokerPaused,
    /// `outbox migrate`
    Migration,
    /// `outbox purge`
    Purge,
    /// `outbox dead redrive`, of messages that the broker has refused until now.
    Redrive,
}

/// What a relay is connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Side {
    Store,
    Broker,
}

/// What a network does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    Reset,
    Latency,
    HalfOpen,
    Stall,
}

const TROUBLES: [Trouble; 4] =
    [Trouble::Reset, Trouble::Latency, Trouble::HalfOpen, Trouble::Stall];

/// What recovering takes, when the length of a run is reckoned.
const RECOVERY: Duration = Duration::from_secs(2);

impl Plan {
    /// The same for the same arguments. All faults that this store and this broker can have come up
    /// equally often, each time in another order.
    pub(super) fn draw(
        seed: u64,
        length: Duration,
        store: StoreKind,
        broker: BrokerKind,
        relays: usize,
    ) -> Self {
        let mut rng = Rng::with_seed(seed);
        let all = Fault::possible(store, broker);
        let (mut steps, mut bag, mut planned) = (Vec::new(), Vec::new(), Duration::ZERO);
        while planned < length {
            if bag.is_empty() {
                bag.clone_from(&all);
                rng.shuffle(&mut bag);
            }
            let fault = bag.pop().expect("there are faults");
            let relay = rng.usize(..relays);
            let step = Step {
                pause: Duration::from_millis(rng.u64(200..1500)),
                fault,
                relay: if fault == Fault::ClockJump { CLOCKED } else { relay },
                hold: fault.hold(&mut rng),
            };
            planned += step.pause + step.hold + RECOVERY;
            steps.push(step);
        }
        Self { steps }
    }

    /// How many topics are refused at first.
    pub(super) fn redrives(&self) -> usize {
        self.steps.iter().filter(|step| step.fault == Fault::Redrive).count()
    }
}

impl Fault {
    fn possible(store: StoreKind, broker: BrokerKind) -> Vec<Self> {
        let mut all = vec![
            Self::RelayKilled,
            Self::RelayStopped,
            Self::RelayTerminated,
            Self::ClockJump,
            Self::BrokerPaused,
            Self::Migration,
            Self::Purge,
            Self::Redrive,
        ];
        // LocalStack keeps what it has in memory only.
        if broker != BrokerKind::Sqs {
            all.push(Self::BrokerRestarted);
        }
        all.extend(TROUBLES.map(|trouble| Self::Network(Side::Broker, trouble)));
        if store == StoreKind::Sqlite {
            all.extend([Self::FileLocked, Self::DiskFull]);
        } else {
            all.extend(TROUBLES.map(|trouble| Self::Network(Side::Store, trouble)));
            all.extend([Self::DatabaseRestarted, Self::DatabaseKilled]);
            all.extend([Self::Disconnected, Self::ConnectionsTaken]);
        }
        all
    }

    fn hold(self, rng: &mut Rng) -> Duration {
        let lease = millis(LEASE);
        Duration::from_millis(match self {
            Self::RelayStopped => rng.u64(lease * 3 / 2..lease * 5 / 2),
            Self::Network(_, Trouble::Latency | Trouble::Stall) => rng.u64(1000..lease * 3 / 2),
            Self::BrokerPaused => rng.u64(500..lease * 3 / 2),
            Self::ClockJump | Self::ConnectionsTaken | Self::FileLocked | Self::DiskFull => {
                rng.u64(1000..4000)
            }
            _ => 0,
        })
    }

    /// What an operator does.
    pub(super) fn is_operation(self) -> bool {
        matches!(self, Self::Migration | Self::Purge | Self::Redrive)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).expect("a short span")
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::RelayKilled => "relay killed",
            Self::RelayStopped => "relay stopped beyond its lease",
            Self::RelayTerminated => "relay terminated",
            Self::ClockJump => "clock jump",
            Self::Network(side, trouble) => {
                let side = match side {
                    Side::Store => "store",
                    Side::Broker => "broker",
                };
                let trouble = match trouble {
                    Trouble::Reset => "reset",
                    Trouble::Latency => "latency",
                    Trouble::HalfOpen => "half-open",
                    Trouble::Stall => "stall",
                };
                return write!(f, "{side} connection: {trouble}");
            }
            Self::DatabaseRestarted => "database restarted",
            Self::DatabaseKilled => "database killed",
            Self::Disconnected => "connections terminated",
            Self::ConnectionsTaken => "connections exhausted",
            Self::FileLocked => "file locked",
            Self::DiskFull => "disk full",
            Self::BrokerRestarted => "broker restarted",
            Self::BrokerPaused => "broker paused",
            Self::Migration => "migration",
            Self::Purge => "purge",
            Self::Redrive => "dead letters redriven",
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn plan(seed: u64, store: StoreKind, broker: BrokerKind) -> Plan {
        Plan::draw(seed, HOUR, store, broker, 3)
    }

    #[test]
    fn a_seed_gives_the_same_plan_and_another_another() {
        let (store, broker) = (StoreKind::Postgres, BrokerKind::Nats);
        assert_eq!(plan(7, store, broker), plan(7, store, broker));
        assert_ne!(plan(7, store, broker), plan(8, store, broker));
    }

    #[test]
    fn every_fault_comes_up_as_often_as_any_other_and_strikes_every_relay() {
        for store in StoreKind::value_variants() {
            for broker in BrokerKind::value_variants() {
                let plan = plan(1, *store, *broker);
                let mut counts = BTreeMap::<_, usize>::new();
                for step in &plan.steps {
                    *counts.entry(step.fault).or_default() += 1;
                }
                assert_eq!(counts.len(), Fault::possible(*store, *broker).len());
                let (least, most) = (counts.values().min(), counts.values().max());
                assert!(most.unwrap() - least.unwrap() <= 1, "{counts:?}");
                assert!((0..3).all(|relay| plan.steps.iter().any(|step| step.relay == relay)));
                assert_eq!(counts[&Fault::Redrive], plan.redrives());
            }
        }
    }

    #[test]
    fn what_cannot_happen_is_not_planned() {
        let has = |store, broker, fault| Fault::possible(store, broker).contains(&fault);
        assert!(!has(StoreKind::Sqlite, BrokerKind::Nats, Fault::DatabaseKilled));
        assert!(!has(StoreKind::Mariadb, BrokerKind::Nats, Fault::DiskFull));
        assert!(!has(StoreKind::Sqlite, BrokerKind::Sqs, Fault::BrokerRestarted));
    }

    #[test]
    fn a_relay_that_stands_still_outlives_its_lease() {
        let plan = plan(3, StoreKind::Sqlite, BrokerKind::Redis);
        let mut stopped = plan.steps.iter().filter(|step| step.fault == Fault::RelayStopped);
        assert!(stopped.all(|step| step.hold > LEASE));
    }

    #[test]
    fn a_plan_is_about_as_long_as_asked() {
        let plan = plan(5, StoreKind::Postgres, BrokerKind::Kafka);
        let planned: Duration =
            plan.steps.iter().map(|step| step.pause + step.hold + RECOVERY).sum();
        assert!(planned >= HOUR && planned < HOUR + Duration::from_mins(1));
    }
}
