//! One relay, from when it starts until its outbox is empty.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use anyhow::{Result, bail, ensure};
use async_trait::async_trait;
use outbox_core::{BatchLimits, FencingToken, Message, Outcome, Publisher, Reason, Relay};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::figures::{count, rate};
use super::target::Subject;

pub(super) struct Relayed {
    /// Messages in a second.
    pub(super) rate: f64,
    /// For each message.
    pub(super) statements: f64,
    /// Messages for each call of the publisher.
    pub(super) batch: f64,
}

/// Relays all that is in the outbox, which is so many messages.
pub(super) async fn relay_all(
    subject: &dyn Subject,
    publisher: Arc<dyn Publisher>,
    messages: u64,
) -> Result<Relayed> {
    let (store, admin, statements) = subject.store().await?;
    let before = statements.get();
    let counted = Arc::new(Counted::new(publisher, messages));
    let relay = Relay::builder(store, Arc::clone(&counted) as Arc<dyn Publisher>).build()?;
    let stop = CancellationToken::new();
    let began = Instant::now();
    let finish = async {
        counted.over.notified().await;
        stop.cancel();
    };
    let (_, ()) = tokio::join!(relay.run(stop.clone()), finish);
    let took = began.elapsed();
    if let Some(outcome) = counted.problem.lock().expect("nobody panics").take() {
        bail!("the publisher says {outcome:?}");
    }
    let left = admin.stats().await?.depth;
    ensure!(left == 0, "the relay left {left} messages");
    let delivered = counted.delivered.load(Ordering::Relaxed);
    ensure!(delivered == messages, "{delivered} deliveries of {messages} messages");
    Ok(Relayed {
        rate: rate(messages, took),
        statements: count(statements.get() - before) / count(messages),
        batch: count(messages) / count(counted.calls.load(Ordering::Relaxed)),
    })
}

/// Counts what is delivered, to know when all is.
struct Counted {
    publisher: Arc<dyn Publisher>,
    messages: u64,
    delivered: AtomicU64,
    calls: AtomicU64,
    /// The first outcome that makes the measurement void.
    problem: Mutex<Option<Outcome>>,
    over: Notify,
}

impl Counted {
    fn new(publisher: Arc<dyn Publisher>, messages: u64) -> Self {
        Self {
            publisher,
            messages,
            delivered: AtomicU64::new(0),
            calls: AtomicU64::new(0),
            problem: Mutex::default(),
            over: Notify::new(),
        }
    }

    fn count(&self, outcomes: &[Outcome]) {
        let delivered = outcomes.iter().filter(|outcome| **outcome == Outcome::Delivered);
        let delivered = delivered.count() as u64;
        // What was throttled comes again.
        let fine =
            |outcome: &&Outcome| matches!(outcome, Outcome::Delivered | Outcome::Throttled(_));
        let problem = outcomes.iter().find(|outcome| !fine(outcome));
        if let Some(problem) = problem {
            *self.problem.lock().expect("nobody panics") = Some(problem.clone());
        }
        self.calls.fetch_add(1, Ordering::Relaxed);
        let before = self.delivered.fetch_add(delivered, Ordering::Relaxed);
        if problem.is_some() || before + delivered >= self.messages {
            self.over.notify_one();
        }
    }
}

#[async_trait]
impl Publisher for Counted {
    fn ordering(&self) -> outbox_core::Ordering {
        self.publisher.ordering()
    }

    fn limits(&self) -> BatchLimits {
        self.publisher.limits()
    }

    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        self.publish_fenced(batch, &[], deadline, outcomes).await;
    }

    async fn publish_fenced(
        &self,
        batch: &[Arc<Message>],
        tokens: &[FencingToken],
        deadline: Instant,
        outcomes: &mut [Outcome],
    ) {
        // A call that runs out of time is dropped, and counts as far as it got.
        let outcomes = OnDrop { outcomes, counted: self };
        self.publisher.publish_fenced(batch, tokens, deadline, outcomes.outcomes).await;
    }

    async fn check(&self) -> Result<(), Reason> {
        self.publisher.check().await
    }

    /// It is used again.
    async fn close(&self) -> Result<(), Reason> {
        Ok(())
    }
}

struct OnDrop<'a> {
    outcomes: &'a mut [Outcome],
    counted: &'a Counted,
}

impl Drop for OnDrop<'_> {
    fn drop(&mut self) {
        self.counted.count(self.outcomes);
    }
}
