//! The fence: a relay that has lost a partition of the outbox can write no more for it.
//!
//! Each partition of the outbox has one transactional id, whichever relay writes for it. Kafka takes
//! from the newest producer of an id only, and ends what others have begun (1). The broker
//! also keeps a register of the epoch under which the partition was claimed last (2). A
//! producer is opened in three steps: it becomes the newest; it reads the register, and gives way to
//! a later epoch; it claims its own, in a transaction. Then it writes, and needs the register no more.
//! What can come between, of an owner and a former one:
//!
//! - The former one is in the middle of a transaction, or has one open: (1) ends it when the owner
//!   becomes the newest.
//! - It opens a producer after the owner's claim: by (2) it gives way. It has ended the owner's
//!   producer, which opens another, finds its own epoch, and goes on within the same call. To spare
//!   the owner that, the register is also looked at before.
//! - It opens a producer between two steps of the owner's: by (1) the owner can't claim, and begins
//!   anew. What the former one commits until then comes before all that the owner writes.
//! - It has read the register, and the owner becomes the newest before its claim: by (1) it can't
//!   claim, and begins anew.
//!
//! So claims only grow, and nothing is committed under an epoch after the claim of a later one.
//! Producers that end each other's transactions wait longer each time before they try again.

use std::collections::HashMap;
use std::future::{Future as _, poll_fn};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use outbox_core::{Epoch, FencingToken, Partition};
use rdkafka::config::ClientConfig;
use tokio::sync::OwnedMutexGuard;

use crate::call::Call;
use crate::client::Client;
use crate::pool::Pool;
use crate::register::Register;
use crate::threads::{Living, on_thread};
use crate::topics::Topics;
use crate::{KafkaConfig, KafkaError, options};

/// Whose turn it is to write for a partition of the outbox, and what it takes.
pub(crate) struct Fence {
    config: KafkaConfig,
    name: String,
    turns: Mutex<HashMap<Partition, Arc<tokio::sync::Mutex<()>>>>,
}

impl Fence {
    pub(crate) fn new(config: &KafkaConfig) -> Option<Self> {
        let name = config.fence.clone()?;
        Some(Self { config: config.clone(), name, turns: Mutex::default() })
    }

    /// Whether brokers can do what it takes, and let this client. Nobody is fenced by that.
    pub(crate) async fn check(&self, by: Instant, living: Living) -> Result<(), KafkaError> {
        let options = options::connection(&self.config);
        let claim = self.claim(FencingToken { partition: Partition(0), epoch: Epoch::default() });
        on_thread(move || {
            // A consumer would say no more than that nobody answers.
            Client::start(&options, &living)?.wait_for_broker(by)?;
            claim.register(by, &living)?.read(by).map(drop)
        })
        .await
    }

    /// Waits until no other call writes for the partition.
    pub(crate) async fn turn(&self, partition: Partition) -> OwnedMutexGuard<()> {
        let turn = {
            let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(turns.entry(partition).or_default())
        };
        turn.lock_owned().await
    }

    pub(crate) fn claim(&self, token: FencingToken) -> Claim {
        let id = format!("{}-{}", self.name, token.partition);
        let register = options::connection(&self.config);
        Claim { token, id, topic: self.name.clone(), register }
    }

    /// The options of a producer that has made this claim.
    pub(crate) fn options(&self, claim: &Claim) -> ClientConfig {
        options::producer(&self.config, Some(&claim.id))
    }
}

/// That a partition of the outbox is written for under an epoch.
#[derive(Clone)]
pub(crate) struct Claim {
    pub(crate) token: FencingToken,
    /// The transactional id, and the group of the register.
    id: String,
    /// The topic of the register.
    topic: String,
    register: ClientConfig,
}

impl Claim {
    /// A producer that has made it; none if another has become the newest meanwhile. Blocks.
    pub(crate) fn open(
        &self,
        options: &ClientConfig,
        patience: Duration,
        living: &Living,
    ) -> Result<Option<Client>, KafkaError> {
        let by = Instant::now() + patience;
        let register = self.register(by, living)?;
        // A transaction may stand open there, which the new producer will end.
        match self.stands(&register, by.min(Instant::now() + GLANCE)) {
            Err(KafkaError::Unreachable(_)) | Ok(_) => {}
            Err(error) => return Err(error),
        }
        let left = by.saturating_duration_since(Instant::now());
        let mut client = Client::open(options, true, left, living)?;
        if self.stands(&register, by)? {
            return Ok(Some(client));
        }
        match register.write(&mut client, self.token.epoch, by) {
            Ok(()) => Ok(Some(client)),
            Err(_) if client.is_fenced() => Ok(None),
            Err(error) => Err(client.no_transactions(&error)),
        }
    }

    /// Whether it was made before; an error if one with a later epoch was.
    fn stands(&self, register: &Register, by: Instant) -> Result<bool, KafkaError> {
        match register.read(by)? {
            Some(epoch) if epoch > self.token.epoch => {
                let partition = self.token.partition.0;
                Err(KafkaError::Overtaken { partition, epoch: epoch.0 })
            }
            claimed => Ok(claimed == Some(self.token.epoch)),
        }
    }

    fn register(&self, by: Instant, living: &Living) -> Result<Register, KafkaError> {
        Register::open(self.register.clone(), &self.topic, &self.id, by, living)
    }
}

/// Publishes what is sent under each token by itself, side by side: a transaction is one producer's.
pub(crate) async fn run(mut call: Call<'_>, tokens: &[FencingToken], pool: &Pool, topics: &Topics) {
    let parts = call.parts(tokens).into_iter();
    let mut parts: Vec<_> = parts.map(|part| Box::pin(part.run(pool, topics))).collect();
    let all = poll_fn(|context| {
        parts.retain_mut(|part| {
            let Poll::Ready(outcomes) = part.as_mut().poll(context) else { return true };
            for (index, outcome) in outcomes {
                call.set(index, outcome);
            }
            false
        });
        if parts.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    });
    all.await;
}

/// How long the register is looked at in advance.
const GLANCE: Duration = Duration::from_millis(500);
