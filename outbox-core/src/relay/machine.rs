//! The relay as a pure state machine: it is told what happened and when, and says what to do.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::time::Duration;

use super::breaker::DestinationState;
use super::command::{BatchId, Command, Destination, DestinationSpec, Event, Input};
use super::config::{InvalidConfig, RelayConfig};
use super::cursors::Cursors;
use super::lanes::{LaneId, Lanes};
use super::leases::Leases;
use super::parking::{Parked, ParkedAt};
use super::publishing::Flight;
use super::settling::Settlements;
use super::timers::{Pace, Retry};
use super::window::Window;
use crate::{LaneRead, Partition, PartitionRead, RelayId, Seq, Visibility};

/// Maps a topic to the index of its destination, which must be one of those given.
pub type Route = Box<dyn Fn(&str) -> Destination + Send + Sync>;

/// What a machine has to know when it starts.
pub struct Setup {
    /// Its settings.
    pub config: RelayConfig,
    /// Its identity: random, for this run alone.
    pub relay: RelayId,
    /// How rows become visible in the store.
    pub visibility: Visibility,
    /// The publishers, by the index of their [`Destination`].
    pub destinations: Vec<DestinationSpec>,
    /// Which topic goes to which of them.
    pub route: Route,
    /// Where its randomness comes from.
    pub seed: u64,
}

impl fmt::Debug for Setup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("config", &self.config)
            .field("relay", &self.relay)
            .field("visibility", &self.visibility)
            .field("destinations", &self.destinations)
            .finish_non_exhaustive()
    }
}

/// The relay state machine.
///
/// It has no clock, no I/O and no randomness of its own. Whoever drives it calls
/// [`handle`](Machine::handle) with what happened, then takes commands and events until there are
/// none, and calls again at [`poll_timeout`](Machine::poll_timeout) at the latest. Times are
/// offsets on one monotonic clock and never go back.
pub struct Machine {
    pub(super) config: RelayConfig,
    pub(super) relay: RelayId,
    pub(super) rng: fastrand::Rng,
    pub(super) route: Route,
    pub(super) leases: Leases,
    pub(super) cursors: Cursors,
    pub(super) window: Window,
    pub(super) lanes: Lanes,
    pub(super) parked: Parked,
    pub(super) destinations: Vec<DestinationState>,
    pub(super) flights: HashMap<BatchId, Flight>,
    pub(super) next_batch: u64,
    pub(super) settlements: Settlements,
    pub(super) pace: Pace,
    /// The lease call under way, and whether it gives everything up.
    pub(super) leasing: Option<(Asked, bool)>,
    pub(super) reading: Option<Reading>,
    pub(super) retries: [Retry; 3],
    /// A row was seen whose place another message has: everything is read again once that has left.
    pub(super) disputed: bool,
    pub(super) stopping: Option<Duration>,
    pub(super) ended: Option<Ended>,
    pub(super) stuck_check_at: Duration,
    pub(super) caught_up: bool,
    pub(super) events: VecDeque<Event>,
}

/// When a call was asked for, and what the cursors were like then.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    pub(super) at: Duration,
    pub(super) seen: Seq,
    pub(super) reset: u64,
    pub(super) parked: ParkedAt,
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    /// Everything was handed back.
    Left,
    /// It was told; nothing follows.
    Told,
}

/// The reading under way.
#[derive(Debug)]
pub(super) enum Reading {
    Page(Asked, Vec<PartitionRead>),
    Lanes(Vec<(LaneId, LaneRead)>),
}

impl Reading {
    pub(super) fn is_page(&mut self) -> bool {
        matches!(self, Self::Page(..))
    }

    pub(super) fn page(self) -> Option<(Asked, Vec<PartitionRead>)> {
        if let Self::Page(asked, reads) = self { Some((asked, reads)) } else { None }
    }

    pub(super) fn lanes(self) -> Option<Vec<(LaneId, LaneRead)>> {
        if let Self::Lanes(lanes) = self { Some(lanes) } else { None }
    }
}

impl fmt::Debug for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Machine")
            .field("relay", &self.relay)
            .field("partitions", &self.leases.len())
            .field("in_memory", &self.window.len())
            .field("held_lanes", &self.lanes.held())
            .field("stopping", &self.stopping)
            .finish_non_exhaustive()
    }
}

impl Machine {
    /// A relay that owns nothing yet.
    ///
    /// # Panics
    /// If there is no destination.
    pub fn new(setup: Setup, now: Duration) -> Result<Self, InvalidConfig> {
        let Setup { config, relay, visibility, destinations, route, seed } = setup;
        config.validate()?;
        assert!(!destinations.is_empty(), "a relay needs a destination");
        Ok(Self {
            config,
            relay,
            rng: fastrand::Rng::with_seed(seed),
            route,
            leases: Leases::new(relay, &config, now),
            cursors: Cursors::new(visibility, now.saturating_add(config.full_look)),
            window: Window::default(),
            lanes: Lanes::default(),
            parked: Parked::default(),
            destinations: destinations.into_iter().map(DestinationState::new).collect(),
            flights: HashMap::new(),
            next_batch: 0,
            settlements: Settlements::default(),
            pace: Pace::new(now),
            leasing: None,
            reading: None,
            retries: Default::default(),
            disputed: false,
            stopping: None,
            ended: None,
            stuck_check_at: now.saturating_add(config.stuck_after),
            caught_up: false,
            events: VecDeque::new(),
        })
    }

    /// Takes in what happened.
    pub fn handle(&mut self, now: Duration, input: Input) {
        match input {
            Input::Leased(answer) => self.leased(now, answer),
            Input::Fetched(answer) => self.fetched(now, answer),
            Input::Reread(answer) => self.reread(now, answer),
            Input::Published(batch, outcomes) => self.published(now, batch, outcomes),
            Input::Settled(answer) => self.settled(now, answer),
            Input::Woken => self.pace.wake(now),
            Input::Stop(deadline) => self.stop(deadline),
            Input::Timeout => {}
        }
        self.tick(now);
    }

    /// The next thing to do, if there is one.
    pub fn poll_command(&mut self, now: Duration) -> Option<Command> {
        if self.is_stopped() {
            return None;
        }
        self.next_lease(now)
            .or_else(|| self.next_settlement(now))
            .or_else(|| self.next_publish(now))
            .or_else(|| self.next_reading(now))
    }

    /// The next thing to tell observers.
    pub fn poll_event(&mut self) -> Option<Event> {
        self.events.pop_front()
    }

    /// Whether everything has been handed back, or the time for it has run out.
    pub fn is_stopped(&self) -> bool {
        matches!(self.ended, Some(Ended::Told))
    }

    /// The partitions that are read and published from.
    pub fn active_partitions(&self) -> Vec<Partition> {
        self.cursors.partitions().collect()
    }

    /// Messages in memory.
    pub fn in_memory(&self) -> usize {
        self.window.len()
    }

    /// Lanes that wait aside, their messages not in memory.
    pub fn held_lanes(&self) -> usize {
        self.lanes.held()
    }

    /// Lanes of its partitions that are parked.
    pub fn parked_lanes(&self) -> usize {
        self.parked.len()
    }

    pub(super) fn tell(&mut self, event: Event) {
        self.events.push_back(event);
    }

    pub(super) fn asked(&self, now: Duration) -> Asked {
        Asked {
            at: now,
            seen: self.cursors.horizon.seen(),
            reset: self.cursors.reset,
            parked: self.parked.now(),
        }
    }

    fn stop(&mut self, deadline: Duration) {
        if self.stopping.replace(deadline).is_some() {
            return;
        }
        self.leases.leaving = true;
        for partition in self.active_partitions() {
            self.stand_down(partition);
            self.leases.drain(partition);
        }
    }

    /// What follows from the time alone.
    fn tick(&mut self, now: Duration) {
        for partition in self.leases.newly_expired(now) {
            self.tell(Event::Expired(partition));
        }
        self.forget_lost();
        if self.cursors.horizon.visibility().needs_full_look() && now >= self.cursors.full_look_at {
            self.cursors.full_look_at = now.saturating_add(self.config.full_look);
            self.rewind_all(now);
        }
        if now >= self.stuck_check_at {
            self.stuck_check_at = now.saturating_add(self.config.stuck_after / 2);
            self.tell_stuck(now);
        }
        let left = matches!(self.ended, Some(Ended::Left));
        let late = self.stopping.is_some_and(|deadline| now >= deadline);
        if !self.is_stopped() && (left || late) {
            self.ended = Some(Ended::Told);
            self.tell(Event::Stopped { clean: left });
        }
        let caught_up = self.is_caught_up();
        if caught_up && !self.caught_up {
            self.tell(Event::CaughtUp);
        }
        self.caught_up = caught_up;
    }

    fn is_caught_up(&self) -> bool {
        self.window.len() == 0
            && self.lanes.held() == 0
            && self.leases.len() > 0
            && self.cursors.exhausted()
    }

    fn tell_stuck(&mut self, now: Duration) {
        let after = self.config.stuck_after;
        for entry in self.window.iter_mut() {
            let age = now.saturating_sub(entry.since);
            if age >= after && !entry.told_stuck {
                entry.told_stuck = true;
                let destination = entry.destination;
                self.events.push_back(Event::Stuck { id: entry.row.id, destination, age });
            }
        }
    }
}

impl Visibility {
    /// Age is an assumption about transactions that a longer one breaks: what it left behind is
    /// found by reading everything again now and then.
    fn needs_full_look(self) -> bool {
        matches!(self, Self::Within(_))
    }
}
