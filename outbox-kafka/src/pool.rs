//! The producers: each serves one call at a time, and only as long as nothing went wrong.
//!
//! What a call gives up by purging must not touch another's messages, so that no two calls share
//! a producer. And one that lost messages, was purged, or ended by a fatal error has gaps in its
//! sequence numbers; no repair of librdkafka's is waited for, the next call gets a new one.

use std::mem;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout_at;
use uuid::Uuid;

use crate::client::{Client, PER_REQUEST};
use crate::threads::{Living, on_thread};
use crate::{KafkaConfig, KafkaError, options};

pub(crate) struct Pool {
    size: usize,
    idle: Mutex<Vec<Slot>>,
    permits: Semaphore,
    connect_timeout: Duration,
    transactional: bool,
    living: Living,
}

/// A place for a producer, with the options that are its own.
struct Slot {
    options: ClientConfig,
    client: Option<Client>,
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
            Slot { options: options::producer(config, id.as_deref()), client: None }
        };
        Self {
            size: config.connections,
            idle: Mutex::new((0..config.connections).map(slot).collect()),
            permits: Semaphore::new(config.connections),
            connect_timeout: config.connect_timeout(),
            transactional: config.transactional_id.is_some(),
            living,
        }
    }

    /// A connected producer for one call.
    pub(crate) async fn lend(&self, by: Instant) -> Result<Lent<'_>, Denied> {
        let permit = match timeout_at(by.into(), self.permits.acquire()).await {
            Ok(Ok(permit)) => permit,
            Ok(Err(_)) => return Err(Denied::Failed(KafkaError::Closed)),
            Err(_) => return Err(Denied::Busy),
        };
        let slot = self.idle().pop().expect("there are as many slots as permits");
        let requests = Requests::Full;
        let mut lent =
            Lent { pool: self, slot: Some(slot), keep: false, requests, _permit: permit };
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

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Slot>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A producer on loan. Dropped without [`Lent::keep`], its client is purged and thrown away.
pub(crate) struct Lent<'a> {
    pool: &'a Pool,
    /// `None` only while it is dropped.
    slot: Option<Slot>,
    keep: bool,
    requests: Requests,
    _permit: SemaphorePermit<'a>,
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
        let patience = by.saturating_duration_since(Instant::now()).min(self.pool.connect_timeout);
        let living = self.pool.living.clone();
        let open = move || Client::open(&options, transactional, patience, &living);
        let client = on_thread(open).await?;
        self.slot().client = Some(client);
        Ok(())
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
        if self.keep || self.pool.transactional {
            // The last that was used is the first to be used again. One that has failed may have
            // left a transaction open, for which consumers wait: the next producer of its id ends
            // it.
            self.pool.idle().push(slot);
        } else {
            self.pool.idle().insert(0, slot);
        }
    }
}
