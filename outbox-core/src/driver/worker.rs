//! One run of a relay: the loop between the machine and the world.

use std::panic::{AssertUnwindSafe, resume_unwind};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::observe::Observers;
use super::perform::{self, Done};
use super::routes::Routes;
use super::{Ending, Health, telemetry};
use crate::relay::{Command, Event, Input, Machine, RelayConfig, Setup};
use crate::{RelayId, Store};

pub(super) struct Worker<'a> {
    pub(super) relay: RelayId,
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) routes: &'a Routes,
    pub(super) config: RelayConfig,
    pub(super) woken: watch::Receiver<u64>,
    pub(super) stop: CancellationToken,
    pub(super) drain_timeout: Duration,
    pub(super) observers: &'a Observers,
    pub(super) health: &'a Health,
}

impl Worker<'_> {
    pub(super) async fn run(mut self) -> Ending {
        let start = Instant::now();
        let mut machine = self.machine();
        // Whatever is under way ends with this set, and so with this future.
        let mut tasks: JoinSet<Done> = JoinSet::new();
        let mut stopping = false;
        let mut held = 0;
        let mut ending = Ending::Abrupt;
        loop {
            while let Some(command) = machine.poll_command(start.elapsed()) {
                self.perform(&mut tasks, start, command);
            }
            while let Some(event) = machine.poll_event() {
                match &event {
                    Event::Stopped { clean: true } => ending = Ending::Clean,
                    Event::StoreFailed(call, _) => self.health.failing(*call, true),
                    Event::StoreRecovered(call) => self.health.failing(*call, false),
                    _ => {}
                }
                self.observers.tell(&event);
            }
            let owned = machine.active_partitions().len();
            if std::mem::replace(&mut held, owned) != owned {
                telemetry::held_leases(owned);
            }
            if machine.is_stopped() {
                return ending;
            }
            let timeout = machine.poll_timeout();
            let at = timeout.and_then(|timeout| start.checked_add(timeout));
            let far = Instant::now() + self.config.lease;
            let wait = tokio::time::sleep_until(at.unwrap_or(far));
            let input = tokio::select! {
                Some(done) = tasks.join_next() => self.done(done),
                () = self.stop.cancelled(), if !stopping => {
                    stopping = true;
                    Some(Input::Stop(start.elapsed() + self.drain_timeout))
                }
                Ok(()) = self.woken.changed() => Some(Input::Woken),
                () = wait => Some(Input::Timeout),
            };
            if let Some(input) = input {
                machine.handle(start.elapsed(), input);
            }
        }
    }

    fn machine(&self) -> Machine {
        let routes = self.routes.clone();
        let setup = Setup {
            config: self.config,
            relay: self.relay,
            visibility: self.store.visibility(),
            destinations: self.routes.specs(),
            route: Box::new(move |topic| routes.of(topic)),
            seed: fastrand::u64(..),
        };
        Machine::new(setup, Duration::ZERO).expect("the settings were checked when it was built")
    }

    /// Starts what a command asks for, on a task of its own.
    fn perform(&self, tasks: &mut JoinSet<Done>, start: Instant, command: Command) {
        if let Command::Publish(batch) = command {
            let publisher = Arc::clone(self.routes.get(batch.destination));
            tasks.spawn(perform::publish(publisher, batch, start));
            return;
        }
        let store = Arc::clone(self.store);
        let timeout = perform::store_timeout(&command, &self.config);
        let failed = perform::failure_of(&command);
        tasks.spawn(async move {
            let call = AssertUnwindSafe(perform::ask(store, command, timeout));
            match call.catch_unwind().await {
                Ok(input) => Done { input, panic: None },
                Err(panic) => failed.panicked(panic.as_ref()),
            }
        });
    }

    fn done(&self, done: Result<Done, tokio::task::JoinError>) -> Option<Input> {
        let Done { input, panic } = match done {
            Ok(done) => done,
            // What adapters panic with was caught; anything else ends the run, for a new one.
            Err(error) if error.is_panic() => resume_unwind(error.into_panic()),
            // Tasks are only cancelled together with this loop.
            Err(_) => return None,
        };
        if let Some(event) = panic {
            self.observers.tell(&event);
        }
        if let Input::Leased(Ok(_)) = &input {
            self.health.answered();
        }
        Some(input)
    }
}
