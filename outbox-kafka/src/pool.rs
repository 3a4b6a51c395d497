//! The producers: each serves one call at a time, and only as long as nothing went wrong.
//!
//! What a call gives up by purging must not touch another's messages, so that no two calls share
//! a producer. And one that lost messages, was purged, or ended by a fatal error has gaps in its
//! sequence numbers; no repair of librdkafka's is waited for, the next call gets a new one.

mod lent;

use std::mem;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outbox_core::{FencingToken, Partition};
use rdkafka::config::ClientConfig;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout_at;
use uuid::Uuid;

use crate::client::Client;
use crate::fence::{Claim, Fence};
use crate::threads::{Living, on_thread};
use crate::{KafkaConfig, KafkaError, options};

pub(crate) use lent::{Lent, Requests};

pub(crate) struct Pool {
    size: usize,
    idle: Mutex<Vec<Slot>>,
    permits: Semaphore,
    /// For opening producers, those included for which nobody waits any more.
    opening: Arc<Semaphore>,
    connect_timeout: Duration,
    transactional: bool,
    /// If there is one, slots are made as partitions of the outbox need them.
    fence: Option<Fence>,
    living: Living,
}

/// A place for a producer, with the options that are its own.
struct Slot {
    options: ClientConfig,
    client: Option<Client>,
    claim: Option<Claim>,
}

/// Why there is no producer for a call.
pub(crate) enum Denied {
    /// None became free in time.
    Busy,
    /// A new one could not be connected, or the pool is closed.
    Failed(KafkaError),
}

impl Pool {
    pub(crate) fn new(config: &KafkaConfig, living: Living) -> Self {
        let process = Uuid::new_v4().simple().to_string();
        let slot = |number| {
            // A relay that starts again, and others with the same configuration, must not fence
            // each other; the next producer of a slot must fence the one before.
            let id = config.transactional_id.as_ref();
            let id = id.map(|prefix| format!("{prefix}-{}-{number}", &process[..12]));
            let options = options::producer(config, id.as_deref());
            Slot { options, client: None, claim: None }
        };
        let fence = Fence::new(config);
        let slots = if fence.is_some() { 0 } else { config.connections };
        Self {
            size: config.connections,
            idle: Mutex::new((0..slots).map(slot).collect()),
            permits: Semaphore::new(config.connections),
            opening: Arc::new(Semaphore::new(MOST_OPENING)),
            connect_timeout: config.connect_timeout(),
            transactional: config.transactional_id.is_some() || fence.is_some(),
            fence,
            living,
        }
    }

    /// Looks whether the brokers can be used.
    pub(crate) async fn connect(&self, by: Instant) -> Result<(), KafkaError> {
        if let Some(fence) = &self.fence {
            return fence.check(by, self.living.clone()).await;
        }
        match self.lend(None, by).await {
            Ok(lent) => lent.keep(),
            Err(Denied::Failed(error)) => return Err(error),
            Err(Denied::Busy) => unreachable!("nobody else has a producer"),
        }
        Ok(())
    }

    /// A connected producer for one call; with a fence the one that `token` asks for, once it is its
    /// turn.
    pub(crate) async fn lend(
        &self,
        token: Option<FencingToken>,
        by: Instant,
    ) -> Result<Lent<'_>, Denied> {
        let fenced = self.fence.as_ref().zip(token);
        let turn = match fenced {
            Some((fence, token)) => {
                let turn = timeout_at(by.into(), fence.turn(token.partition)).await;
                Some(turn.map_err(|_| Denied::Busy)?)
            }
            None => None,
        };
        let permit = match timeout_at(by.into(), self.permits.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Denied::Failed(KafkaError::Closed)),
            Err(_) => return Err(Denied::Busy),
        };
        let slot = match fenced {
            Some((fence, token)) => self.claimed(fence, token),
            None => self.idle().pop().expect("there are as many slots as permits"),
        };
        let lent = Lent::new(self, slot, permit, turn);
        lent.connected(by).await.map_err(Denied::Failed)
    }

    /// Waits for the calls that are under way, and disconnects.
    pub(crate) async fn close(&self) {
        let all = u32::try_from(self.size).expect("the configuration was checked");
        let Ok(permits) = self.permits.acquire_many(all).await else { return };
        self.permits.close();
        permits.forget();
        let slots = mem::take(&mut *self.idle());
        let clients: Vec<_> = slots.into_iter().filter_map(|slot| slot.client).collect();
        on_thread(move || clients.into_iter().for_each(Client::close)).await;
    }

    /// The slot of a partition, under that epoch.
    fn claimed(&self, fence: &Fence, token: FencingToken) -> Slot {
        let known = {
            let mut idle = self.idle();
            let is_there = |slot: &Slot| slot.partition() == Some(token.partition);
            let place = idle.iter().position(is_there);
            place.map(|place| idle.remove(place))
        };
        let is_same = |slot: &Slot| slot.claim.as_ref().is_some_and(|claim| claim.token == token);
        known.filter(is_same).unwrap_or_else(|| {
            let claim = fence.claim(token);
            Slot { options: fence.options(&claim), client: None, claim: Some(claim) }
        })
    }

    /// For opening a producer, once not too many still are.
    async fn opening(&self, by: Instant) -> Result<OwnedSemaphorePermit, KafkaError> {
        let permit = timeout_at(by.into(), self.opening.clone().acquire_owned()).await;
        permit.map(|permit| permit.expect("it is never closed")).map_err(|_| stands_still())
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Slot>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    fn partition(&self) -> Option<Partition> {
        self.claim.as_ref().map(|claim| claim.token.partition)
    }
}

/// How many producers of partitions are kept that nobody uses. Each has threads of its own, and
/// nobody says when a partition goes to another relay.
const MOST_IDLE: usize = 64;

/// How many producers may be opened at the same time. Each keeps one of the threads on which
/// everything waits that blocks, of which there are 512 in a Tokio runtime.
const MOST_OPENING: usize = 64;

fn stands_still() -> KafkaError {
    KafkaError::Unreachable("the client stands still".into())
}

#[cfg(test)]
mod tests {
    use outbox_core::Epoch;
    use tokio::time::timeout;

    use super::*;

    /// Seen to keep a producer for each partition that ever was its.
    #[tokio::test]
    async fn few_producers_are_kept_that_nobody_uses() {
        let config = "kafka://127.0.0.1:1?fence=few".parse().unwrap();
        let pool = Pool::new(&config, Living::default());
        for partition in 0..100 {
            let token = FencingToken { partition: Partition(partition), epoch: Epoch(1) };
            let slot = pool.claimed(pool.fence.as_ref().unwrap(), token);
            let permit = pool.permits.acquire().await.unwrap();
            drop(Lent::new(&pool, slot, permit, None));
        }
        let kept: Vec<_> = pool.idle().iter().filter_map(Slot::partition).collect();
        assert_eq!(kept, (36..100).map(Partition).collect::<Vec<_>>(), "the last that were used");
    }

    /// Else it becomes the newest in the middle of the next call, and ends its transaction.
    #[tokio::test]
    async fn a_producer_that_nobody_waits_for_is_opened_before_the_next_ones_turn() {
        let config = "kafka://127.0.0.1:1?fence=turns".parse().unwrap();
        let pool = Pool::new(&config, Living::default());
        let token = FencingToken { partition: Partition(0), epoch: Epoch(1) };
        let lend = pool.lend(Some(token), Instant::now() + Duration::from_secs(2));
        assert!(timeout(Duration::from_millis(500), lend).await.is_err(), "nobody answers");
        let turn = || pool.fence.as_ref().unwrap().turn(token.partition);
        assert!(timeout(Duration::from_millis(500), turn()).await.is_err(), "it is still opened");
        let by = Duration::from_secs(30);
        assert!(timeout(by, turn()).await.is_ok(), "it keeps its turn for ever");
    }

    /// Seen to be made again by who got the turn before the first had put it back: two producers of
    /// one partition, which fenced each other call after call.
    #[test]
    fn a_producer_that_takes_too_long_is_the_next_calls_too() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(1)
            .build()
            .unwrap();
        runtime.block_on(async {
            let (ends, ended) = std::sync::mpsc::channel::<()>();
            // No thread is left to open a producer.
            let busy = tokio::task::spawn_blocking(move || ended.recv());
            let config = "kafka://127.0.0.1:1?fence=slow&connect_timeout_ms=1000".parse().unwrap();
            let pool = Arc::new(Pool::new(&config, Living::default()));
            let calls = [100, 10_000].map(|most| {
                let (pool, most) = (Arc::clone(&pool), Duration::from_millis(most));
                let token = FencingToken { partition: Partition(0), epoch: Epoch(1) };
                tokio::spawn(
                    async move { pool.lend(Some(token), Instant::now() + most).await.is_ok() },
                )
            });
            for call in calls {
                assert!(!call.await.unwrap());
            }
            assert_eq!(pool.idle().len(), 1);
            drop(ends);
            assert!(busy.await.unwrap().is_err());
        });
    }

    /// Also those for which nobody waits any more: what blocks in them may never end. Seen to open
    /// another for each call.
    #[tokio::test]
    async fn no_more_producers_are_opened_than_there_are_threads_for() {
        let config = "kafka://127.0.0.1:1?fence=many".parse().unwrap();
        let pool = Pool::new(&config, Living::default());
        let most = u32::try_from(MOST_OPENING).unwrap();
        let _others = pool.opening.acquire_many(most - 1).await.unwrap();
        let lend = |partition, by| {
            let token = FencingToken { partition: Partition(partition), epoch: Epoch(1) };
            pool.lend(Some(token), Instant::now() + by)
        };
        let last = timeout(Duration::from_millis(500), lend(0, Duration::from_secs(5))).await;
        assert!(last.is_err(), "nobody answers");
        let Err(Denied::Failed(error)) = lend(1, Duration::from_millis(100)).await else {
            panic!("one too many is opened")
        };
        assert_eq!(error.to_string(), stands_still().to_string());
    }
}
