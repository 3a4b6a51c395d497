//! A publisher whose broker answers wrongly, late or not at all.

use std::fmt;
use std::future::pending;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use outbox_core::{BatchLimits, FencingToken, Message, Ordering, Outcome, Publisher, Reason};

use super::{Call, Injector};

/// How a publish goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublisherFault {
    /// The broker can't be reached: nothing is sent, and all is unavailable.
    Fail,
    /// The broker has it all, and no answer comes: every outcome stays unknown.
    LoseReply,
    /// The broker has it all and says so, but the call never returns.
    Stall,
    /// It takes that much longer before it is sent.
    Delay(Duration),
    /// The broker takes the batch twice.
    Duplicate,
    /// So many messages are sent; the outcomes of the others stay unknown.
    Cut(usize),
    /// The broker has it all and says so, then the client panics.
    Panic,
}

/// A [`Publisher`] that goes wrong as its [`Injector`] says.
pub struct FaultyPublisher {
    inner: Arc<dyn Publisher>,
    faults: Injector<PublisherFault>,
}

impl FaultyPublisher {
    /// Wraps a publisher. Nothing goes wrong until [`faults`](Self::faults) is told to; `seed` is
    /// that of its dice.
    pub fn new(inner: Arc<dyn Publisher>, seed: u64) -> Self {
        Self { inner, faults: Injector::new(seed) }
    }

    /// What goes wrong.
    pub fn faults(&self) -> &Injector<PublisherFault> {
        &self.faults
    }
}

impl fmt::Debug for FaultyPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FaultyPublisher").field("faults", &self.faults).finish_non_exhaustive()
    }
}

#[async_trait]
impl Publisher for FaultyPublisher {
    fn ordering(&self) -> Ordering {
        self.inner.ordering()
    }

    fn limits(&self) -> BatchLimits {
        self.inner.limits()
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
        let fault = self.faults.draw(Call::Publish, batch.len());
        let mut unheard = vec![Outcome::Unknown; batch.len()];
        match fault {
            Some(PublisherFault::Fail) => {
                let reason = Reason::new("injected: the broker can't be reached");
                return outcomes.fill(Outcome::Unavailable(reason));
            }
            Some(PublisherFault::LoseReply) => {
                return self.inner.publish_fenced(batch, tokens, deadline, &mut unheard).await;
            }
            Some(PublisherFault::Cut(sent)) => {
                let sent = sent.min(batch.len());
                let (batch, outcomes) = (&batch[..sent], &mut outcomes[..sent]);
                let tokens = &tokens[..sent.min(tokens.len())];
                return self.inner.publish_fenced(batch, tokens, deadline, outcomes).await;
            }
            Some(PublisherFault::Delay(delay)) => tokio::time::sleep(delay).await,
            Some(PublisherFault::Duplicate) => {
                self.inner.publish_fenced(batch, tokens, deadline, &mut unheard).await;
            }
            Some(PublisherFault::Stall | PublisherFault::Panic) | None => {}
        }
        self.inner.publish_fenced(batch, tokens, deadline, outcomes).await;
        match fault {
            Some(PublisherFault::Stall) => pending().await,
            Some(PublisherFault::Panic) => panic!("injected: the publish panics"),
            _ => {}
        }
    }

    async fn check(&self) -> Result<(), Reason> {
        self.inner.check().await
    }

    async fn close(&self) -> Result<(), Reason> {
        self.inner.close().await
    }
}
