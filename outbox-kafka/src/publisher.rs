//! The publisher: checks, looks topics up, and hands batches to producers.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering as Atomic};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use outbox_core::broker::reserved;
use outbox_core::{BatchLimits, FencingToken, Message, Ordering, Outcome, Publisher, Reason};

use crate::call::{AGAIN, Call};
use crate::pool::{Denied, Pool};
use crate::threads::Living;
use crate::topics::Topics;
use crate::{KafkaConfig, KafkaError, fence, mapping, options, outcome, transaction};

/// Publishes to Kafka. See the [crate] for what it promises.
pub struct KafkaPublisher {
    config: KafkaConfig,
    topics: Arc<Topics>,
    pool: Pool,
    living: Living,
    closed: AtomicBool,
}

impl KafkaPublisher {
    /// Connects, at the latest within [`KafkaConfig::connect_timeout_ms`].
    pub async fn connect(config: KafkaConfig) -> Result<Self, KafkaError> {
        config.check()?;
        options::check(config.librdkafka.keys())?;
        let living = Living::default();
        let topics = Arc::new(Topics::start(&config, living.clone()).await?);
        let pool = Pool::new(&config, living.clone());
        let by = Instant::now() + config.connect_timeout();
        if let Some(fence) = &config.fence {
            // What is wrong with it, whoever needs it is told.
            let _ = topics.look_up(fence, by).await;
        }
        pool.connect(by).await?;
        Ok(Self { config, topics, pool, living, closed: AtomicBool::new(false) })
    }

    fn keeps_prefix(&self) -> bool {
        self.config.transactional_id.is_some() || self.config.fence.is_some()
    }

    fn destination<'a>(&'a self, message: &'a Message) -> Result<Cow<'a, str>, Reason> {
        if let Some(reason) = reserved(message) {
            return Err(reason);
        }
        let topic =
            self.config.destination.of(message.topic()).ok_or_else(|| {
                Reason::of(&KafkaError::NoDestination(message.topic().to_owned()))
            })?;
        match mapping::unfit(message, &topic, self.config.max_message_bytes) {
            Some(reason) => Err(reason),
            None => Ok(topic),
        }
    }
}

#[async_trait]
impl Publisher for KafkaPublisher {
    fn ordering(&self) -> Ordering {
        if self.keeps_prefix() { Ordering::PrefixPerKey } else { Ordering::Independent }
    }

    fn limits(&self) -> BatchLimits {
        BatchLimits { messages: 2_000, bytes: 8 * 1024 * 1024 }
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
        if self.closed.load(Atomic::Acquire) {
            return outcomes.fill(outcome::of_error(&KafkaError::Closed));
        }
        if self.config.fence.is_some() && tokens.len() != batch.len() {
            return outcomes.fill(outcome::of_error(&KafkaError::NoEpochs));
        }
        let mut call = Call::new(batch, outcomes, deadline, self.keeps_prefix());
        call.plan(|message| self.destination(message));
        call.look_up(&self.topics).await;
        if call.items.is_empty() {
            return;
        }
        if self.config.fence.is_some() {
            fence::run(call, tokens, &self.pool, &self.topics).await;
        } else {
            send(call, None, &self.pool, &self.topics).await;
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        if self.closed.load(Atomic::Acquire) {
            return Err(Reason::of(&KafkaError::Closed));
        }
        self.topics.check().await
    }

    /// Waits for the calls that are under way, which end at their deadlines. There is nothing to
    /// flush besides: no call leaves a message behind. What a call has left is a transaction to
    /// be aborted, for which it waits up to 10 seconds.
    async fn close(&self) -> Result<(), Reason> {
        self.closed.store(true, Atomic::Release);
        self.pool.close().await;
        self.topics.close().await;
        if self.living.end(ENDING).await { Ok(()) } else { Err(STILL_THERE.into()) }
    }
}

/// Publishes what nothing is known to be wrong with.
pub(crate) async fn send(
    mut call: Call<'_>,
    token: Option<FencingToken>,
    pool: &Pool,
    topics: &Topics,
) {
    match pool.lend(token, call.by).await {
        Err(Denied::Busy) => call.fill(&AGAIN),
        Err(Denied::Failed(error)) => call.fill(&outcome::of_error(&error)),
        Ok(lent) if call.is_late() => {
            call.fill(&AGAIN);
            lent.keep();
        }
        Ok(lent) if call.keeps_prefix() => transaction::run(call, lent, topics).await,
        Ok(lent) => call.run(lent, topics).await,
    }
}

/// Where to, and no secret.
impl fmt::Debug for KafkaPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaPublisher")
            .field("servers", &self.config.servers)
            .finish_non_exhaustive()
    }
}

/// How long closing waits for producers of calls that are over.
const ENDING: Duration = Duration::from_secs(10);

const STILL_THERE: &str = "Kafka: a producer does not end; where it has left a transaction open, \
    consumers wait until the broker gives it up";
