//! How each fault is made.

use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use outbox_core::StoreError;
use outbox_testkit::faults::Proxy;
use uuid::Uuid;

use super::cast::Cast;
use super::plan::{Fault, LEASE, Side, Step, Trouble};
use super::probe::{self, Stale};

/// What a fault left for the judge.
#[derive(Debug, Default)]
pub(super) struct Struck {
    pub(super) stale: Stale,
    /// Messages that may have been put back.
    pub(super) redriven: Vec<Uuid>,
    /// How many dead letters were put back, and deleted.
    pub(super) put_back: u64,
    pub(super) deleted: u64,
}

/// A relay that was asked to end has five seconds for it.
const PATIENCE: Duration = Duration::from_secs(30);

/// Long before that nothing is old enough to be purged.
const OLD: Duration = Duration::from_secs(20);

/// Delay in each direction.
const LATENCY: Duration = Duration::from_millis(150);

impl Cast {
    /// Returns when the fault is over.
    pub(super) async fn strike(&mut self, step: &Step) -> Result<Struck> {
        let (relay, hold) = (&self.relays[step.relay], step.hold);
        let mut struck = Struck::default();
        match step.fault {
            Fault::RelayKilled => relay.signal("KILL")?,
            Fault::RelayStopped => struck.stale = self.stand_still(step).await?,
            Fault::RelayTerminated => {
                let before = relay.ends().len();
                relay.signal("TERM")?;
                ensure!(relay.ended(before + 1, PATIENCE).await, "a relay doesn't end");
            }
            Fault::ClockJump => {
                // Ahead or back, as the seed has it.
                let ahead = hold.as_millis().is_multiple_of(2);
                relay.set_clock(if ahead { "+10m" } else { "-10m" })?;
                tokio::time::sleep(hold).await;
                relay.set_clock("+0")?;
            }
            Fault::Network(side, trouble) => {
                let proxies = match side {
                    Side::Store => &self.store.proxies,
                    Side::Broker => &self.broker.proxies,
                };
                disturb(&proxies[step.relay], trouble, hold).await;
            }
            Fault::DatabaseRestarted | Fault::DatabaseKilled => {
                let server = self.store.server.as_mut().context("a file has no server")?;
                let kills = step.fault == Fault::DatabaseKilled;
                #[expect(
                    clippy::disallowed_methods,
                    reason = "the runtime is our own, and has several threads"
                )]
                tokio::task::block_in_place(|| if kills { server.kill() } else { server.stop() });
                server.start_again().await;
            }
            Fault::Disconnected => self.store.disconnect().await?,
            Fault::ConnectionsTaken => {
                let proxy = &self.store.proxies[step.relay];
                self.store.place.take_connections(hold, &|| proxy.cut()).await?;
            }
            Fault::FileLocked => self.store.place.lock(hold).await?,
            Fault::DiskFull => self.store.disk()?.fill(hold).await?,
            Fault::BrokerRestarted => self.broker.restart().await,
            Fault::BrokerPaused => {
                self.broker.server.pause();
                tokio::time::sleep(hold).await;
                self.broker.server.resume();
            }
            Fault::Migration => drop(self.operate(&["migrate"])?),
            Fault::Purge => struck.deleted = self.purge().await?,
            Fault::Redrive => self.redrive(&mut struck).await?,
        }
        Ok(struck)
    }

    /// Once its partitions are another's, what it would decide comes too late.
    async fn stand_still(&self, step: &Step) -> Result<Stale> {
        let relay = &self.relays[step.relay];
        let before = probe::leases(&*self.eyes).await?;
        relay.signal("STOP")?;
        let begun = Instant::now();
        // Others take over when it has run out, which they see a moment later.
        tokio::time::sleep(LEASE * 5 / 4).await;
        let stale = probe::decide_late(&*self.eyes, &before).await;
        tokio::time::sleep(step.hold.saturating_sub(begun.elapsed())).await;
        relay.signal("CONT")?;
        match stale {
            // It stands still in the middle of a transaction: nobody can write the file.
            Err(error) if error.is::<StoreError>() && self.store.server.is_none() => {
                Ok(Stale::default())
            }
            stale => stale,
        }
    }

    /// Deletes dead letters that are old, and remembers which.
    async fn purge(&mut self) -> Result<u64> {
        let begun = Instant::now();
        let before = self.dead().await?;
        let said = self.operate(&["purge", "--older-than", &format!("{}s", OLD.as_secs())])?;
        ensure!(begun.elapsed() < OLD, "purging took so long that nobody knows what was deleted");
        let after = self.dead().await?;
        let gone: Vec<_> = before.iter().filter(|letter| !after.contains(letter)).collect();
        let deleted = counted(&said)?;
        ensure!(deleted == gone.len() as u64, "{said}, but {} are gone", gone.len());
        self.purged.extend(gone.into_iter().map(|letter| letter.id));
        Ok(deleted)
    }

    /// The broker takes what it has refused, and the dead letters of that are put back.
    async fn redrive(&mut self, struck: &mut Struck) -> Result<()> {
        let topics = self.writers.topics();
        let topic = &topics.refused[topics.current.load(Relaxed)];
        self.broker.consumer.admit(topic).await;
        topics.current.fetch_add(1, Relaxed);
        struck.put_back = counted(&self.operate(&["dead", "redrive", "--topic", topic])?)?;
        // Which of them were dead at that moment, nobody but the database knows.
        let written = self.writers.written().into_iter().flat_map(|written| written.messages);
        let of_topic = written.filter(|message| message.topic() == topic);
        struck.redriven = of_topic.map(|message| message.id()).collect();
        Ok(())
    }
}

async fn disturb(proxy: &Proxy, trouble: Trouble, hold: Duration) {
    match trouble {
        Trouble::Reset => proxy.reset(),
        Trouble::HalfOpen => proxy.half_open(),
        Trouble::Latency => {
            let _late = proxy.delay(LATENCY);
            tokio::time::sleep(hold).await;
        }
        Trouble::Stall => {
            let _held = proxy.hold_all();
            tokio::time::sleep(hold).await;
        }
    }
}

/// The number in `put 3 messages back`.
fn counted(said: &str) -> Result<u64> {
    let mut words = said.split_whitespace();
    words.find_map(|word| word.parse().ok()).with_context(|| format!("no number in {said:?}"))
}
