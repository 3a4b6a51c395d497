//! The producers: each serves one call at a time, and only as long as nothing went wrong.
//!
//! What a call gives up by purging must not touch another's messages, so that no two calls share
//! a producer. And one that lost messages, was purged, or ended by a fatal error has gaps in its
//! sequence numbers; no repair of librdkafka's is waited for, the next call gets a new one.

use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use outbox_core::{FencingToken, Partition};
use rdkafka::config::ClientConfig;
use tokio::sync::{OwnedMutexGuard, Semaphore, SemaphorePermit};
use tokio::time::timeout_at;
use uuid::Uuid;

use crate::client::{Client, PER_REQUEST};
use crate::fence::{Claim, Fence};
use crate::threads::{Living, guarded, on_thread};
use crate::{KafkaConfig, KafkaError, options};

pub(crate) struct Pool {
    size: usize,
    idle: Mutex<Vec<Slot>>,
    permits: Semaphore,
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
        let requests = Requests::Full;
        let mut lent = Lent {
            pool: self,
            slot: Some(slot),
            keep: false,
            requests,
            pause: PAUSE,
            _permit: permit,
            turn,
        };
        if !lent.slot().client.as_ref().is_some_and(Client::is_calm) {
            lent.reconnect(by, Requests::Full).await.map_err(Denied::Failed)?;
        }
        Ok(lent)
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

/// How much longer than it was given opening a producer may take until the next call of its partition
/// opens another. One that comes late all the same is fenced, or fences, as any other.
const LATE: Duration = Duration::from_secs(1);

/// How long another producer is given way, the first time.
const PAUSE: Duration = Duration::from_millis(20);

/// A producer on loan. Dropped without [`Lent::keep`], its client is purged and thrown away.
pub(crate) struct Lent<'a> {
    pool: &'a Pool,
    /// `None` only while it is dropped.
    slot: Option<Slot>,
    keep: bool,
    requests: Requests,
    /// How long another producer of the same id is given way, the next time.
    pause: Duration,
    _permit: SemaphorePermit<'a>,
    turn: Option<OwnedMutexGuard<()>>,
}

/// How many messages a producer puts into a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Requests {
    /// As many as fit.
    Full,
    /// One, so that what is refused is known.
    OneByOne,
}

impl Lent<'_> {
    pub(crate) fn client(&mut self) -> &mut Client {
        self.slot().client.as_mut().expect("it is away only while it is lent to a thread")
    }

    /// Gives the client back for the next call, if nothing is wrong with it.
    pub(crate) fn keep(mut self) {
        self.keep = self.requests == Requests::Full && self.client().is_calm();
    }

    /// Lends the client to a thread that may block. If this future is dropped before the thread
    /// has begun, it never does.
    pub(crate) async fn block_on<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut Client) -> T + Send + 'static,
    ) -> T {
        let mut client = self.slot().client.take().expect("it is lent to one thread at a time");
        let (client, result) = on_thread(move || {
            let result = work(&mut client);
            (client, result)
        })
        .await;
        self.slot().client = Some(client);
        result
    }

    /// Throws the client away for a new one.
    pub(crate) async fn reconnect(
        &mut self,
        by: Instant,
        requests: Requests,
    ) -> Result<(), KafkaError> {
        drop(self.slot().client.take());
        self.requests = requests;
        let mut options = self.slot().options.clone();
        if requests == Requests::OneByOne {
            options.set(PER_REQUEST, "1");
        }
        let transactional = self.pool.transactional;
        loop {
            let left = by.saturating_duration_since(Instant::now());
            let patience = left.min(self.pool.connect_timeout);
            let (options, claim) = (options.clone(), self.slot().claim.clone());
            let living = self.pool.living.clone();
            let open = move || match claim {
                Some(claim) => claim.open(&options, patience, &living),
                None => Client::open(&options, transactional, patience, &living).map(Some),
            };
            // If nobody waits for it any more, the next call of its partition does.
            let opening = guarded(self.turn.take(), patience + LATE, open);
            let Some((client, turn)) = opening.await else {
                return Err(KafkaError::Unreachable("the client stands still".into()));
            };
            self.turn = turn;
            self.slot().client = client?;
            if self.slot().client.is_some() {
                return Ok(());
            }
            self.give_way(by).await;
            if Instant::now() >= by {
                return Err(self.contested());
            }
        }
    }

    /// Another producer of the same transactional id may do what it has begun: two that end each
    /// other's transactions would never commit one.
    pub(crate) async fn give_way(&mut self, by: Instant) {
        let until = by.min(Instant::now() + self.pause);
        self.pause *= 2;
        tokio::time::sleep_until(until.into()).await;
    }

    /// What is wrong if another producer has become the newest of a partition.
    pub(crate) fn fenced(&mut self) -> Option<KafkaError> {
        let is_fenced = self.slot().claim.is_some() && self.client().is_fenced();
        is_fenced.then(|| self.contested())
    }

    fn contested(&mut self) -> KafkaError {
        let partition = self.slot().partition().expect("only partitions are fenced");
        KafkaError::Contested { partition: partition.0 }
    }

    fn slot(&mut self) -> &mut Slot {
        self.slot.as_mut().expect("it is there until it is dropped")
    }
}

impl Drop for Lent<'_> {
    fn drop(&mut self) {
        let Some(mut slot) = self.slot.take() else { return };
        if !self.keep {
            drop(slot.client.take());
        }
        if self.pool.fence.is_some() {
            let least_used = {
                let mut idle = self.pool.idle();
                idle.push(slot);
                (idle.len() > MOST_IDLE).then(|| idle.remove(0))
            };
            drop(least_used);
        } else if self.keep || self.pool.transactional {
            // The last that was used is the first to be used again. One that has failed may have
            // left a transaction open, for which consumers wait: the next producer of its id ends
            // it.
            self.pool.idle().push(slot);
        } else {
            self.pool.idle().insert(0, slot);
        }
    }
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
            let slot = Some(pool.claimed(pool.fence.as_ref().unwrap(), token));
            let permit = pool.permits.acquire().await.unwrap();
            let (requests, pause) = (Requests::Full, PAUSE);
            let (pool, keep) = (&pool, false);
            drop(Lent { pool, slot, keep, requests, pause, _permit: permit, turn: None });
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
}
