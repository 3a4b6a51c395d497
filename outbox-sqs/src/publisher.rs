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
use crate::outcome::{self, Answer};
use crate::packs::{MOST_ENTRIES, Pack, singles, waves};
use crate::queues::Queues;
use crate::{SqsConfig, SqsError};

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

    /// Sends each in a request, and writes down what is answered as soon as it is.
    async fn send_all(&self, packs: Vec<Pack>, deadline: Instant, notes: &mut Notes<'_>) {
        let mut sending: FuturesUnordered<_> =
            packs.into_iter().map(|pack| self.send(pack, deadline)).collect();
        while let Some(answered) = sending.next().await {
            for (index, answer) in answered {
                notes.take(index, answer);
            }
        }
    }

    /// Sends one request, and returns what became of its messages, as far as that is known.
    async fn send(&self, pack: Pack, deadline: Instant) -> Vec<(usize, Answer)> {
        let indices = pack.indices();
        let all = |answer: Answer| indices.iter().map(|i| (*i, answer.clone())).collect();
        let late = || all(Answer::Of(Outcome::Unavailable(LATE.into())));
        let begin = async {
            let permit = self.permits.acquire().await;
            let closed = |_| Answer::Of(Outcome::Unavailable(CLOSED.into()));
            let permit = permit.map_err(closed)?;
            let url = self.queues.url(&self.client, &self.config, &pack.queue).await?;
            Ok((permit, url))
        };
        let (_permit, url) = match timeout_at(deadline.into(), begin).await {
            Ok(Ok(begun)) if Instant::now() < deadline => begun,
            Ok(Err(answer)) => return all(answer),
            Ok(Ok(_)) | Err(_) => return late(),
        };
        let (queue, alone) = (pack.queue, indices.len() == 1);
        let entries = pack.messages.into_iter().map(|(index, message)| message.entry(index));
        let request = self.client.send_message_batch().queue_url(&*url);
        let request = request.set_entries(Some(entries.collect()));
        let handed = Handed::default();
        let request = request.customize().interceptor(handed.clone()).send();
        match timeout_at(deadline.into(), request).await {
            Ok(Ok(answer)) => answers(&answer, &indices),
            Ok(Err(error)) => {
                if outcome::is_elsewhere(&error) {
                    self.queues.forget(&queue);
                }
                if outcome::is_missing_queue(&error) && self.config.create_queues {
                    let says = "the queue was deleted, and will be created again";
                    return all(Answer::Refused(says.into()));
                }
                all(outcome::call(&error, handed.is_set(), alone))
            }
            Err(_) if handed.is_set() => Vec::new(),
            Err(_) => late(),
        }
    }
}

const LATE: &str = "SQS did not answer until the deadline";
const CLOSED: &str = "the publisher is closed";

/// One for each message that the answer names, whatever the status of the whole.
fn answers(answer: &SendMessageBatchOutput, indices: &[usize]) -> Vec<(usize, Answer)> {
    let index = |id: &str| id.parse().ok().filter(|index| indices.contains(index));
    let delivered = || Answer::Of(Outcome::Delivered);
    let taken = answer.successful().iter().map(|entry| (index(entry.id()), delivered()));
    let failed = answer.failed().iter().map(|entry| (index(entry.id()), outcome::entry(entry)));
    taken.chain(failed).filter_map(|(index, answer)| Some((index?, answer))).collect()
}

/// What is known of a call's messages.
struct Notes<'a> {
    outcomes: &'a mut [Outcome],
    refused: Vec<(usize, Reason)>,
    /// To be sent one by one.
    apart: Vec<usize>,
}

impl Notes<'_> {
    fn take(&mut self, index: usize, answer: Answer) {
        match answer {
            Answer::Of(outcome) => self.outcomes[index] = outcome,
            Answer::Refused(reason) => {
                self.outcomes[index] = Outcome::Unavailable(reason.clone());
                self.refused.push((index, reason));
            }
            // Unknown until it is answered for: by then it may have been sent.
            Answer::Apart => self.apart.push(index),
        }
    }

    /// What is refused while others are taken is refused for a reason of its own, for which those
    /// others need not rest. Where nothing is taken it may be all that is refused.
    fn conclude(self) {
        if self.outcomes.contains(&Outcome::Delivered) {
            for (index, reason) in self.refused {
                self.outcomes[index] = Outcome::Failed(reason);
            }
        }
    }
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
        let mut notes = Notes { outcomes, refused: Vec::new(), apart: Vec::new() };
        for wave in waves(good, self.config.max_bytes) {
            self.send_all(wave, deadline, &mut notes).await;
            let apart = std::mem::take(&mut notes.apart).into_iter();
            let again =
                |index: usize| Some((index, Outgoing::of(&batch[index], &self.config).ok()?));
            self.send_all(singles(apart.filter_map(again)), deadline, &mut notes).await;
        }
        notes.conclude();
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
