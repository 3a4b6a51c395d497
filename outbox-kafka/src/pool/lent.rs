//! A producer on loan.

use std::time::{Duration, Instant};

use tokio::sync::{OwnedMutexGuard, SemaphorePermit};

use super::{MOST_IDLE, Pool, Slot, stands_still};
use crate::KafkaError;
use crate::client::{Client, PER_REQUEST};
use crate::threads::{guarded, on_thread};

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

impl<'a> Lent<'a> {
    pub(super) fn new(
        pool: &'a Pool,
        slot: Slot,
        permit: SemaphorePermit<'a>,
        turn: Option<OwnedMutexGuard<()>>,
    ) -> Self {
        let (keep, requests, pause) = (false, Requests::Full, PAUSE);
        Self { pool, slot: Some(slot), keep, requests, pause, _permit: permit, turn }
    }

    /// With a client that nothing is wrong with.
    pub(super) async fn connected(mut self, by: Instant) -> Result<Self, KafkaError> {
        if !self.slot().client.as_ref().is_some_and(Client::is_calm) {
            self.reconnect(by, Requests::Full).await?;
        }
        Ok(self)
    }

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
            let permit = self.pool.opening(by).await?;
            let left = by.saturating_duration_since(Instant::now());
            let patience = left.min(self.pool.connect_timeout);
            let (options, claim) = (options.clone(), self.slot().claim.clone());
            let living = self.pool.living.clone();
            let open = move || {
                let _permit = permit;
                match claim {
                    Some(claim) => claim.open(&options, patience, &living),
                    None => Client::open(&options, transactional, patience, &living).map(Some),
                }
            };
            // If nobody waits for it any more, the next call of its partition does.
            let opened = guarded(self.turn.take(), patience + LATE, open);
            let (client, turn) = opened.await;
            self.turn = turn;
            self.slot().client = client.ok_or_else(stands_still)??;
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
