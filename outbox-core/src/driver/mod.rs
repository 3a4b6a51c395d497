//! Runs a relay machine on tokio: executes its commands, feeds the answers back, decides nothing.

mod observe;
mod perform;
mod routes;
mod telemetry;
mod waker;
mod worker;

use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

pub use observe::{Health, Observer};
pub use waker::{WakeOnDrop, Waker};

use crate::relay::{Event, InvalidConfig, RelayConfig};
use crate::{Admin, Publisher, Reason, RelayId, Store};
use observe::Observers;
use routes::Routes;
use telemetry::Telemetry;

/// Moves what was committed from a [`Store`] to a [`Publisher`], until it is told to stop.
///
/// Any number of relays may run over one outbox, in one process or in many; they share its
/// partitions. A relay recovers by itself from everything that can pass: a panic in an adapter, a
/// broken connection, a database or a broker that is down.
///
/// # Metrics
///
/// It tells them to the recorder of the crate `metrics` that the program has installed; without
/// one they go nowhere. Spans of time are in seconds.
///
/// | metric | kind | labels | tells |
/// |---|---|---|---|
/// | `outbox_published_total` | counter | `publisher` | messages delivered |
/// | `outbox_failed_total` | counter | `publisher` | messages not delivered, each time, whatever the reason |
/// | `outbox_publish_seconds` | histogram | `publisher` | how long a call of the publisher took |
/// | `outbox_end_to_end_seconds` | histogram | | from a message's creation, by its producer's clock, to its delivery |
/// | `outbox_retried_total` | counter | | failed attempts that are followed by another |
/// | `outbox_dead_total` | counter | | messages that became dead letters |
/// | `outbox_parked_total` | counter | | messages moved after one that died |
/// | `outbox_breaker_open` | gauge | `publisher` | 1 while the publisher rests, as its broker is unavailable |
/// | `outbox_fetch_seconds` | histogram | | how long reading a page took |
/// | `outbox_looked_behind_total` | counter | | rows read again behind the cursor |
/// | `outbox_late_total` | counter | | of those, rows that were committed late |
/// | `outbox_held_leases` | gauge | | partitions that the relay owns |
/// | `outbox_leases_lost_total` | counter | | partitions lost, or not renewed in time |
/// | `outbox_store_failures_total` | counter | `call` | failed calls of the store: `lease`, `read`, `settle` |
/// | `outbox_stuck_total` | counter | | messages without a verdict for [`stuck_after`](RelayConfig::stuck_after) |
/// | `outbox_panics_total` | counter | `in` | panics that it has recovered from |
/// | `outbox_depth` | gauge | | pending messages, with [`sample`](RelayBuilder::sample) only |
/// | `outbox_oldest_age_seconds` | gauge | | the age of the oldest, with `sample` only |
pub struct Relay {
    store: Arc<dyn Store>,
    routes: Routes,
    admin: Option<(Arc<dyn Admin>, Duration)>,
    config: RelayConfig,
    waker: Waker,
    drain_timeout: Duration,
    observers: Observers,
    health: Health,
}

/// How a relay ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// All was settled and every partition handed back.
    Clean,
    /// The time to drain ran out: partitions stay with this relay until their leases run out, and
    /// what was on its way may be published again.
    Abrupt,
}

impl fmt::Debug for Relay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Relay")
            .field("config", &self.config)
            .field("drain_timeout", &self.drain_timeout)
            .finish_non_exhaustive()
    }
}

impl Relay {
    /// A relay from `store` to `publisher`, which is called `default`.
    pub fn builder(store: Arc<dyn Store>, publisher: Arc<dyn Publisher>) -> RelayBuilder {
        RelayBuilder {
            store,
            routes: Routes::to(publisher),
            admin: None,
            config: RelayConfig::default(),
            waker: Waker::new(),
            drain_timeout: Duration::from_secs(10),
            observers: Vec::new(),
        }
    }

    /// Runs until `stop` is cancelled, then finishes what is on its way and hands everything back
    /// to other relays. Dropping the future stops at once; leases then run out by themselves.
    pub async fn run(&self, stop: CancellationToken) -> Ending {
        let sampling = self.admin.as_ref().map(|(admin, every)| {
            let sampler = telemetry::sample(Arc::clone(admin), *every);
            AbortOnDrop(tokio::spawn(sampler))
        });
        let ending = self.supervise(stop).await;
        drop(sampling);
        ending
    }

    /// Closes its publishers, after a run has ended.
    pub async fn close(&self) -> Result<(), Reason> {
        self.routes.close().await
    }

    /// Whether it gets anywhere, for readiness checks.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// A panic ends a run, not the relay: the next one starts under a new identity.
    async fn supervise(&self, stop: CancellationToken) -> Ending {
        loop {
            let relay = RelayId(uuid::Uuid::new_v4());
            let span = tracing::info_span!("relay", %relay);
            let run = self.worker(relay, stop.clone()).run().instrument(span);
            match AssertUnwindSafe(run).catch_unwind().await {
                Ok(ending) => return ending,
                Err(panic) => {
                    self.observers.tell(&Event::Panicked("relay", panic_reason(panic.as_ref())));
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ending::Abrupt,
                () = tokio::time::sleep(self.config.store_retry.cap) => {}
            }
        }
    }

    fn worker(&self, relay: RelayId, stop: CancellationToken) -> worker::Worker<'_> {
        worker::Worker {
            relay,
            store: &self.store,
            routes: &self.routes,
            config: self.config,
            woken: self.waker.listen(),
            stop,
            drain_timeout: self.drain_timeout,
            observers: &self.observers,
            health: &self.health,
        }
    }
}

/// Sets a [`Relay`] up.
#[must_use = "a builder does nothing until `build` is called"]
pub struct RelayBuilder {
    store: Arc<dyn Store>,
    routes: Routes,
    admin: Option<(Arc<dyn Admin>, Duration)>,
    config: RelayConfig,
    waker: Waker,
    drain_timeout: Duration,
    observers: Vec<Arc<dyn Observer>>,
}

impl fmt::Debug for RelayBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RelayBuilder").field("config", &self.config).finish_non_exhaustive()
    }
}

impl RelayBuilder {
    /// Replaces the default settings.
    pub fn config(mut self, config: RelayConfig) -> Self {
        self.config = config;
        self
    }

    /// Looks for messages as soon as this is woken, instead of at the next poll.
    pub fn waker(mut self, waker: &Waker) -> Self {
        self.waker = waker.clone();
        self
    }

    /// How long finishing may take once the relay was told to stop; 10 seconds by default.
    pub fn drain_timeout(mut self, timeout: Duration) -> Self {
        self.drain_timeout = timeout;
        self
    }

    /// Tells `observer` of everything, beside the logs and metrics that are always told.
    pub fn observer(mut self, observer: Arc<dyn Observer>) -> Self {
        self.observers.push(observer);
        self
    }

    /// Samples the depth and the oldest age for the [metrics](Relay#metrics), that often. It counts
    /// every pending row: one relay of an outbox that does it is enough.
    pub fn sample(mut self, admin: Arc<dyn Admin>, every: Duration) -> Self {
        self.admin = Some((admin, every));
        self
    }

    /// Adds a publisher that [`route`](Self::route) can name. Each rests and recovers on its own:
    /// one that is down stops no other.
    pub fn publisher(mut self, name: impl Into<Arc<str>>, publisher: Arc<dyn Publisher>) -> Self {
        self.routes.publisher(name.into(), publisher);
        self
    }

    /// Sends the topics that match `pattern`, in which `*` stands for any number of characters, to
    /// the publisher of that name. The first route that matches decides; what matches none goes to
    /// `default`, the relay's first publisher.
    ///
    /// Order is kept for each key per publisher: between two of them there is none.
    pub fn route(mut self, pattern: impl Into<String>, publisher: impl Into<Arc<str>>) -> Self {
        self.routes.rule(pattern.into(), publisher.into());
        self
    }

    /// Checks the settings.
    pub fn build(mut self) -> Result<Relay, InvalidConfig> {
        self.config.validate()?;
        self.routes.check()?;
        self.observers.insert(0, Arc::new(Telemetry(self.routes.names())));
        Ok(Relay {
            store: self.store,
            routes: self.routes,
            admin: self.admin,
            health: Health::new(self.config.lease),
            config: self.config,
            waker: self.waker,
            drain_timeout: self.drain_timeout,
            observers: Observers(self.observers),
        })
    }
}

/// A task that ends with whoever waits for it.
struct AbortOnDrop(tokio::task::JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What a panic said.
fn panic_reason(panic: &(dyn std::any::Any + Send)) -> Reason {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    Reason::new(text.unwrap_or("a panic without a message"))
}
