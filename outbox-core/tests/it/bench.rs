//! A machine on the bench: the test gives every answer.

#![expect(clippy::large_types_passed_by_value, reason = "a machine's settings are passed once")]

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use outbox_core::relay::{
    Batch, Command, Destination, DestinationSpec, Event, Input, Machine, RelayConfig, Setup,
};
use outbox_core::{
    BatchLimits, Fate, FetchRequest, LeaseRequest, Message, Ordering, Outcome, Page, Partition,
    RelayId, SettleRequest, StoredRow, Visibility,
};
use outbox_testkit::memory::Database;
use uuid::Uuid;

/// A machine over a reference database, where every answer waits until the test gives it.
pub(crate) struct Bench {
    pub(crate) machine: Machine,
    pub(crate) database: Database,
    pub(crate) now: Duration,
    pub(crate) commands: VecDeque<Command>,
    pub(crate) events: Vec<Event>,
}

impl Bench {
    pub(crate) fn new(ordering: Ordering) -> Self {
        Self::with(ordering, RelayConfig::default())
    }

    pub(crate) fn with(ordering: Ordering, config: RelayConfig) -> Self {
        Self::build(ordering, config, 1, Visibility::Snapshot, 1)
    }

    pub(crate) fn build(
        ordering: Ordering,
        config: RelayConfig,
        partitions: u16,
        visibility: Visibility,
        destinations: usize,
    ) -> Self {
        let spec = DestinationSpec { ordering, limits: BatchLimits::default() };
        let database = Database::new(partitions, visibility);
        Self::over(database, Duration::ZERO, config, (spec, destinations), 7)
    }

    /// A relay that starts at `now` on a database that others used before.
    pub(crate) fn over(
        database: Database,
        now: Duration,
        config: RelayConfig,
        (spec, destinations): (DestinationSpec, usize),
        relay: u128,
    ) -> Self {
        let setup = Setup {
            config,
            relay: RelayId(Uuid::from_u128(relay)),
            visibility: database.visibility(),
            destinations: vec![spec; destinations],
            route: Box::new(|topic| Destination(u16::from(topic == "two"))),
            seed: 1,
        };
        let machine = Machine::new(setup, now).unwrap();
        let (commands, events) = (VecDeque::new(), Vec::new());
        let mut bench = Self { machine, database, now, commands, events };
        bench.collect();
        // The first page is of no partition; the first lease call tells who owns what, the second
        // takes what is free.
        bench.fetch();
        bench.lease();
        bench.lease();
        bench
    }

    pub(crate) fn enqueue(&mut self, keys: &[&str]) -> Vec<Message> {
        let message = |key: &&str| Message::bytes("t", "x").key(key).build().unwrap();
        let messages: Vec<Message> = keys.iter().map(message).collect();
        self.database.enqueue(self.now, messages.clone()).unwrap();
        messages
    }

    pub(crate) fn enqueue_to(&mut self, topic: &str, key: &str) {
        let message = Message::bytes(topic, "x").key(key).build().unwrap();
        self.database.enqueue(self.now, [message]).unwrap();
    }

    /// Carries so many commands out, or waits; `outcome` says what becomes of each message.
    pub(crate) fn drive(&mut self, steps: usize, mut outcome: impl FnMut(&Message) -> Outcome) {
        for _ in 0..steps {
            if let Some(command) = self.commands.pop_front() {
                let mut publish = |message: &Arc<Message>| outcome(message);
                self.answer(command, |batch| batch.messages.iter().map(&mut publish).collect());
            } else if let Some(at) = self.machine.poll_timeout() {
                self.now = self.now.max(at);
                self.tell(Input::Timeout);
            } else {
                break;
            }
        }
    }

    pub(crate) fn tell(&mut self, input: Input) {
        self.machine.handle(self.now, input);
        self.collect();
    }

    /// Carries a command out.
    pub(crate) fn answer(
        &mut self,
        command: Command,
        publish: impl FnOnce(&Batch) -> Vec<Outcome>,
    ) {
        let (now, database) = (self.now, &mut self.database);
        let input = match command {
            Command::Lease(request) => Input::Leased(Ok(database.lease(now, &request))),
            Command::Fetch(request) => Input::Fetched(Ok(database.fetch(now, &request))),
            Command::Reread(request) => Input::Reread(Ok(database.reread(now, &request))),
            Command::Settle(request) => Input::Settled(Ok(database.settle(now, &request))),
            Command::Publish(batch) => Input::Published(batch.id, publish(&batch)),
        };
        self.tell(input);
    }

    pub(crate) fn collect(&mut self) {
        while let Some(command) = self.machine.poll_command(self.now) {
            self.commands.push_back(command);
        }
        while let Some(event) = self.machine.poll_event() {
            self.events.push(event);
        }
    }

    /// Waits until the machine wants something of that kind, and returns it.
    pub(crate) fn next<T>(&mut self, pick: impl Fn(&Command) -> Option<T>) -> T {
        for _ in 0..1000 {
            if let Some(at) = self.commands.iter().position(|command| pick(command).is_some()) {
                return pick(&self.commands.remove(at).unwrap()).unwrap();
            }
            // While it waits, its leases are renewed.
            if let Some(at) = self.commands.iter().position(|c| matches!(c, Command::Lease(_))) {
                let Some(Command::Lease(request)) = self.commands.remove(at) else { continue };
                let report = self.database.lease(self.now, &request);
                self.tell(Input::Leased(Ok(report)));
                continue;
            }
            let wait = self.machine.poll_timeout().expect("it waits for an answer");
            self.now = self.now.max(wait);
            self.tell(Input::Timeout);
        }
        panic!("it never asked; it wants {:?}", self.commands);
    }

    pub(crate) fn lease(&mut self) {
        let request = self.next(|command| match command {
            Command::Lease(request) => Some(request.clone()),
            _ => None,
        });
        let report = self.database.lease(self.now, &request);
        self.tell(Input::Leased(Ok(report)));
    }

    pub(crate) fn fetch_request(&mut self) -> FetchRequest {
        self.next(|command| match command {
            Command::Fetch(request) => Some(request.clone()),
            _ => None,
        })
    }

    pub(crate) fn fetch(&mut self) -> Page {
        let request = self.fetch_request();
        let page = self.database.fetch(self.now, &request);
        self.tell(Input::Fetched(Ok(page.clone())));
        page
    }

    pub(crate) fn reread(&mut self) -> Vec<StoredRow> {
        let request = self.next(|command| match command {
            Command::Reread(request) => Some(request.clone()),
            _ => None,
        });
        let rows = self.database.reread(self.now, &request);
        self.tell(Input::Reread(Ok(rows.clone())));
        rows
    }

    pub(crate) fn batch(&mut self) -> Batch {
        self.next(|command| match command {
            Command::Publish(batch) => Some(batch.clone()),
            _ => None,
        })
    }

    pub(crate) fn settle(&mut self) -> Vec<Fate> {
        let request = self.next(|command| match command {
            Command::Settle(request) => Some(request.clone()),
            _ => None,
        });
        let report = self.database.settle(self.now, &request);
        self.tell(Input::Settled(Ok(report)));
        request.verdicts.iter().map(|verdict| verdict.fate).collect()
    }

    pub(crate) fn published(&mut self, batch: &Batch, outcomes: Vec<Outcome>) {
        self.tell(Input::Published(batch.id, outcomes));
    }

    pub(crate) fn wants_to_publish(&self) -> bool {
        self.commands.iter().any(|command| matches!(command, Command::Publish(_)))
    }
}

pub(crate) fn ids(batch: &Batch) -> Vec<Uuid> {
    batch.messages.iter().map(|message| message.id()).collect()
}

pub(crate) fn settle_request(command: &Command) -> Option<SettleRequest> {
    if let Command::Settle(request) = command { Some(request.clone()) } else { None }
}

/// A lease request of another relay's.
pub(crate) fn other(take: &[Partition], leaving: bool) -> LeaseRequest {
    LeaseRequest {
        relay: RelayId(Uuid::from_u128(8)),
        ttl: RelayConfig::default().lease,
        take: take.to_vec(),
        release: Vec::new(),
        sick: false,
        leaving,
    }
}
