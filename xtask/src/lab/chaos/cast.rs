//! All who take part in a run.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use anyhow::{Result, ensure};
use outbox_core::{Admin, DeadFilter, Store};
use tempfile::TempDir;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::brokers::BrokerBed;
use super::judge::Dead;
use super::plan::{BrokerKind, Plan};
use super::relays::{Recipe, Relay, describe};
use super::stores::StoreBed;
use super::writers::{Pace, Topics, Writers};
use super::{Pair, program, recovery};
use crate::process;

pub(super) struct Cast {
    pub(super) store: StoreBed,
    pub(super) broker: BrokerBed,
    pub(super) relays: Vec<Relay>,
    pub(super) writers: Arc<Writers>,
    /// Of those who look on, and of a relay that isn't one any more.
    pub(super) eyes: Arc<dyn Store>,
    pub(super) admin: Arc<dyn Admin>,
    pub(super) program: PathBuf,
    /// Dead letters that were deleted.
    pub(super) purged: BTreeSet<Uuid>,
    tasks: JoinSet<()>,
    directory: TempDir,
}

const WRITERS: u64 = 4;

impl Cast {
    /// Everything runs when this returns.
    pub(super) async fn assemble(pair: &Pair, plan: &Plan, program: PathBuf) -> Result<Self> {
        let directory = tempfile::tempdir()?;
        let (store, broker) = tokio::try_join!(
            StoreBed::start(pair.store, pair.relays),
            BrokerBed::start(pair.broker, pair.relays)
        )?;
        let open = broker.topic("orders");
        let refused: Vec<_> =
            (0..=plan.redrives()).map(|n| broker.topic(&format!("late-{n}"))).collect();
        broker.consumer.create(&open).await;
        for topic in &refused {
            broker.consumer.refuse(topic).await;
        }
        let (eyes, admin) = store.place.store().await?;
        let topics = Topics { open, refused, current: AtomicUsize::new(0) };
        // LocalStack takes some ten messages a second on a machine that is busy.
        let (think, most_pending) =
            if pair.broker == BrokerKind::Sqs { (400, 200) } else { (40, 1000) };
        let pace = Pace { think: Duration::from_millis(think), most_pending };
        let writers = Arc::new(Writers::new(Arc::clone(&store.place), topics, pace));
        let relays = (0..pair.relays).map(|number| {
            let recipe = Recipe {
                program: program.clone(),
                directory: directory.path().to_owned(),
                store: store.relay_url(number),
                broker: broker.relay_url(number),
            };
            Relay::start(number, recipe)
        });
        let relays = relays.collect::<Result<_>>()?;
        let mut tasks = JoinSet::new();
        for writer in 0..WRITERS {
            let (writers, rng) =
                (Arc::clone(&writers), fastrand::Rng::with_seed(pair.seed ^ (writer + 1)));
            tasks.spawn(async move { writers.write(rng).await });
        }
        let purged = BTreeSet::new();
        let cast =
            Self { store, broker, relays, writers, eyes, admin, program, purged, tasks, directory };
        Ok(cast)
    }

    /// Where messages are not refused.
    pub(super) fn topic(&self) -> &str {
        &self.writers.topics().open
    }

    /// Runs the program as an operator does, and returns what it says.
    pub(super) fn operate(&self, arguments: &[&str]) -> Result<String> {
        let mut command = program::command(&self.program, arguments);
        command.env("OUTBOX_STORE", self.store.url());
        #[expect(
            clippy::disallowed_methods,
            reason = "the runtime is our own, and has several threads"
        )]
        tokio::task::block_in_place(|| process::read(&mut command))
    }

    /// The dead letters that there are.
    pub(super) async fn dead(&self) -> Result<Vec<Dead>> {
        let filter = DeadFilter::default();
        let mut letters = self.admin.dead_letters(&filter, MOST).await;
        // What a fault has broken is a connection that it has: the next one works.
        for _ in 0..ATTEMPTS {
            if letters.is_ok() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
            letters = self.admin.dead_letters(&filter, MOST).await;
        }
        let letters = letters?;
        ensure!(letters.len() < MOST as usize, "more dead letters than are counted");
        let named = |letter: outbox_core::DeadLetter| {
            let (message, error) = (letter.message, letter.error);
            Dead { id: message.id(), topic: message.topic().to_owned(), error }
        };
        Ok(letters.into_iter().map(named).collect())
    }

    /// Tells writers how much is pending, for as long as it is awaited.
    pub(super) async fn watch(&self) {
        loop {
            let count = self.store.place.numbers("SELECT COUNT(*) FROM outbox").await;
            if let Some(count) = count.ok().and_then(|count| u64::try_from(*count.first()?).ok()) {
                self.writers.pending.store(count, Relaxed);
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    /// Writers end, and relays go on until nothing is pending. Returns what still is.
    pub(super) async fn drain(&mut self) -> Result<u64> {
        self.writers.stop();
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        let emptied = async {
            loop {
                let left = self.store.place.numbers("SELECT COUNT(*) FROM outbox").await;
                if left.is_ok_and(|left| left == [0]) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        let _ = tokio::time::timeout(recovery::PATIENCE, emptied).await;
        let left = self.store.place.numbers("SELECT COUNT(*) FROM outbox").await?;
        Ok(u64::try_from(left[0])?)
    }

    /// Relays end; says what is wrong with how they do.
    pub(super) async fn end_relays(&mut self) -> Result<Vec<String>> {
        let mut wrong = Vec::new();
        for (number, relay) in std::mem::take(&mut self.relays).into_iter().enumerate() {
            let (in_order, status) = relay.end(Duration::from_secs(30)).await?;
            if !in_order || !status.success() {
                wrong.push(format!(
                    "relay {number}, asked to end, did so with {}",
                    describe(status)
                ));
            }
        }
        Ok(wrong)
    }

    /// Everything that has arrived, topic by topic.
    pub(super) async fn arrived(&self) -> Vec<Uuid> {
        let topics = self.writers.topics();
        let admitted = topics.current.load(Relaxed).min(topics.refused.len());
        let mut arrived = self.broker.consumer.arrived(&topics.open).await;
        for topic in &topics.refused[..admitted] {
            arrived.extend(self.broker.consumer.arrived(topic).await);
        }
        arrived
    }

    /// Leaves the logs of the relays behind, for whoever looks for the cause.
    pub(super) fn keep(self) -> PathBuf {
        self.directory.keep()
    }
}

const ATTEMPTS: usize = 20;

/// More dead letters than a run makes.
const MOST: u32 = 1_000_000;
