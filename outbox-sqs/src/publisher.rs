//! The publisher.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_trait::async_trait;
use aws_sdk_sqs::Client;
use aws_sdk_sqs::operation::send_message_batch::SendMessageBatchOutput;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use outbox_core::{BatchLimits, Message, Outcome, Publisher, Reason};
use tokio::sync::Semaphore;
use tokio::time::{timeout, timeout_at};

use crate::client::{Handed, client};
use crate::mapping::Outgoing;
use crate::packs::{MOST_ENTRIES, Pack, waves};
use crate::queues::Queues;
use crate::{SqsConfig, SqsError, outcome};

/// Publishes messages to the queues of an account and region.
///
/// It has up to [`concurrency`](SqsConfig::concurrency) connections, which are made when they are
/// needed.
pub struct SqsPublisher {
    config: SqsConfig,
    client: Client,
    queues: Queues,
    /// One for each request that may be under way.
    permits: Semaphore,
}

impl SqsPublisher {
    /// Asks SQS for a sign of life.
    pub async fn connect(config: SqsConfig) -> Result<Self, SqsError> {
        let client = client(&config).await?;
        let permits = Semaphore::new(config.concurrency);
        let publisher = Self { config, client, queues: Queues::default(), permits };
        publisher.ask().await?;
        Ok(publisher)
    }

    /// Asks something to which even a denial is an answer: who only sends may not list queues.
    async fn ask(&self) -> Result<(), SqsError> {
        if self.permits.is_closed() {
            return Err(SqsError::Unavailable(CLOSED.into()));
        }
        let request = self.client.list_queues().max_results(1).send();
        let Ok(answer) = timeout(self.config.connect_timeout(), request).await else {
            return Err(SqsError::Unavailable("it doesn't answer".into()));
        };
        match answer {
            Ok(_) => Ok(()),
            Err(error) if outcome::is_denied(&error) => Ok(()),
            Err(error) => Err(outcome::unusable(&error)),
        }
    }

    /// Sends one request, and returns what became of its messages, as far as that is known.
    async fn send(&self, pack: Pack, deadline: Instant) -> Vec<(usize, Outcome)> {
        let indices = pack.indices();
        let all = |outcome: Outcome| indices.iter().map(|i| (*i, outcome.clone())).collect();
        let begin = async {
            let permit = self.permits.acquire().await;
            let permit = permit.map_err(|_| Outcome::Unavailable(CLOSED.into()))?;
            let url = self.queues.url(&self.client, &self.config, &pack.queue).await?;
            Ok((permit, url))
        };
        let (_permit, url) = match timeout_at(deadline.into(), begin).await {
            Ok(Ok(begun)) if Instant::now() < deadline => begun,
            Ok(Err(outcome)) => return all(outcome),
            Ok(Ok(_)) | Err(_) => return all(Outcome::Unavailable(LATE.into())),
        };
        let (queue, alone) = (pack.queue, indices.len() == 1);
        let entries = pack.messages.into_iter().map(|(index, message)| message.entry(index));
        let request = self.client.send_message_batch().queue_url(&*url);
        let request = request.set_entries(Some(entries.collect()));
        let handed = Handed::default();
        let request = request.customize().interceptor(handed.clone()).send();
        match timeout_at(deadline.into(), request).await {
            Ok(Ok(answer)) => answers(&answer, &indices),
            Ok(Err(error)) if outcome::is_missing_queue(&error) => {
                self.queues.forget(&queue);
                all(self.missing())
            }
            Ok(Err(error)) => all(outcome::call(&error, handed.is_set(), alone)),
            Err(_) if handed.is_set() => Vec::new(),
            Err(_) => all(Outcome::Unavailable(LATE.into())),
        }
    }

    /// Of a queue that was there. The next call creates it, if it may.
    fn missing(&self) -> Outcome {
        if self.config.create_queues {
            return Outcome::Unavailable("the queue was deleted, and will be created again".into());
        }
        Outcome::Rejected(outcome::MISSING_QUEUE.into())
    }
}

const LATE: &str = "SQS did not answer until the deadline";
const CLOSED: &str = "the publisher is closed";

/// One for each message that the answer names, whatever the status of the whole.
fn answers(answer: &SendMessageBatchOutput, indices: &[usize]) -> Vec<(usize, Outcome)> {
    let index = |id: &str| id.parse().ok().filter(|index| indices.contains(index));
    let taken = answer.successful().iter().map(|entry| (index(entry.id()), Outcome::Delivered));
    let failed = answer.failed().iter().map(|entry| (index(entry.id()), outcome::entry(entry)));
    taken.chain(failed).filter_map(|(index, outcome)| Some((index?, outcome))).collect()
}

#[async_trait]
impl Publisher for SqsPublisher {
    fn limits(&self) -> BatchLimits {
        let requests = self.config.concurrency;
        BatchLimits { messages: requests * MOST_ENTRIES, bytes: requests * self.config.max_bytes }
    }

    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        if self.permits.is_closed() {
            return outcomes.fill(Outcome::Unavailable(CLOSED.into()));
        }
        let mut good = Vec::with_capacity(batch.len());
        for (index, message) in batch.iter().enumerate() {
            match Outgoing::of(message, &self.config) {
                Ok(outgoing) => good.push((index, outgoing)),
                Err(reason) => outcomes[index] = Outcome::Rejected(reason),
            }
        }
        for wave in waves(good, self.config.max_bytes) {
            let mut sending: FuturesUnordered<_> =
                wave.into_iter().map(|pack| self.send(pack, deadline)).collect();
            while let Some(answered) = sending.next().await {
                for (index, outcome) in answered {
                    outcomes[index] = outcome;
                }
            }
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        self.ask().await.map_err(|error| Reason::of(&error))
    }

    async fn close(&self) -> Result<(), Reason> {
        // Those who wait for a permit already are served first; all have deadlines of their own.
        let requests = self.config.concurrency.try_into().unwrap_or(u32::MAX);
        let _all = self.permits.acquire_many(requests).await;
        self.permits.close();
        Ok(())
    }
}

impl fmt::Debug for SqsPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SqsPublisher").field("config", &self.config).finish_non_exhaustive()
    }
}
