//! The publisher.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_trait::async_trait;
use bytes::Bytes;
use outbox_core::{Message, Outcome, Publisher, Reason};
use serde::de::IgnoredAny;
use tokio::sync::{Mutex, RwLock, Semaphore};
use tokio::time::{timeout, timeout_at};

use crate::call::{Call, End};
use crate::link::{Link, api};
use crate::mapping::Outgoing;
use crate::outcome::Denial;
use crate::{NatsConfig, NatsError};

/// Publishes messages to the streams of a NATS server or cluster.
///
/// It has one connection, which runs on a thread of its own. When it is lost the next call
/// connects anew.
pub struct NatsPublisher {
    config: NatsConfig,
    state: Mutex<State>,
    /// One for each message that may wait for its acknowledgement.
    permits: Semaphore,
    /// Read by each call, written by the close, which waits for them.
    calls: RwLock<()>,
}

enum State {
    Open(Option<Arc<Link>>),
    Closed,
}

/// What is known of a server's limits for so long isn't asked again.
const FRESH: Duration = Duration::from_secs(1);

impl NatsPublisher {
    /// Connects to the first server that lets us in. It tries each of them for `connect_timeout_ms`.
    pub async fn connect(config: NatsConfig) -> Result<Self, NatsError> {
        config.check()?;
        let permits = Semaphore::new(config.max_pending);
        let (state, calls) = (Mutex::new(State::Open(None)), RwLock::default());
        let publisher = Self { config, state, permits, calls };
        publisher.link(Duration::MAX).await?;
        Ok(publisher)
    }

    /// The connection, made anew if it was lost or is older than that.
    async fn link(&self, oldest: Duration) -> Result<Arc<Link>, NatsError> {
        let mut state = self.state.lock().await;
        let State::Open(link) = &mut *state else { return Err(NatsError::Closed) };
        if let Some(link) = link.as_ref().filter(|link| !link.is_lost() && link.age() <= oldest) {
            return Ok(link.clone());
        }
        if let Some(lost) = link.take_if(|link| link.is_lost()) {
            lost.end();
        }
        let opened = timeout(self.config.longest_connect(), Link::open(&self.config)).await;
        let opened = opened.unwrap_or(Err(NatsError::TimedOut))?;
        Ok(link.insert(Arc::new(opened)).clone())
    }

    /// A server tells its limit when it is connected to, and not when the limit is changed. Before
    /// a message is rejected for it, it is asked again.
    async fn with_room(
        &self,
        link: Arc<Link>,
        messages: &mut Vec<(usize, Outgoing)>,
        outcomes: &mut [Outcome],
    ) -> Arc<Link> {
        let most = link.client().max_payload();
        if messages.iter().all(|(_, message)| message.size <= most) {
            return link;
        }
        match self.link(FRESH).await {
            Ok(link) => link,
            Err(error) => {
                let reason = Reason::of(&error);
                for (index, _) in messages.extract_if(.., |(_, message)| message.size > most) {
                    outcomes[index] = Outcome::Unavailable(reason.clone());
                }
                link
            }
        }
    }

    /// Asks JetStream something that every account with JetStream may ask, unless it is denied,
    /// which is an answer, too.
    async fn ask(&self) -> Result<(), Reason> {
        let link = self.link(Duration::MAX).await.map_err(|error| Reason::of(&error))?;
        let question = api(self.config.domain.as_deref(), "INFO");
        let mut denials = link.denials();
        let denied = async {
            let denial = Denial::Publish(question.as_str().into());
            while denials.recv().await.is_ok_and(|told| told != denial) {}
        };
        let answer = tokio::select! {
            answer = link.client().request(question.clone(), Bytes::new()) => answer,
            () = denied => return Ok(()),
        };
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => Reason::new("no JetStream answers"),
            _ => Reason::of(&error),
        })?;
        // What the account has and may use differs between versions.
        match serde_json::from_slice(&answer.payload) {
            Ok(Response::<IgnoredAny>::Ok(_)) => Ok(()),
            Ok(Response::Err { error }) => Err(Reason::of(&error)),
            Err(error) => Err(Reason::of(&error)),
        }
    }
}

#[async_trait]
impl Publisher for NatsPublisher {
    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        let mut good = Vec::with_capacity(batch.len());
        for (index, message) in batch.iter().enumerate() {
            match Outgoing::of(message, &self.config.destination) {
                Ok(outgoing) => good.push((index, outgoing)),
                Err(reason) => outcomes[index] = Outcome::Rejected(reason),
            }
        }
        if good.is_empty() {
            return;
        }
        let indices: Vec<_> = good.iter().map(|(index, _)| *index).collect();
        let unavailable = |outcomes: &mut [Outcome], indices: &[usize], reason: Reason| {
            for index in indices {
                outcomes[*index] = Outcome::Unavailable(reason.clone());
            }
        };
        let deadline = deadline.into();
        let begin = async {
            let calls = self.calls.try_read().map_err(|_| NatsError::Closed)?;
            let link = self.link(Duration::MAX).await?;
            Ok((calls, self.with_room(link, &mut good, outcomes).await))
        };
        let begun = timeout_at(deadline, begin).await.unwrap_or(Err(NatsError::TimedOut));
        let (_going_on, link) = match begun {
            Ok(begun) => begun,
            Err(error) => return unavailable(outcomes, &indices, Reason::of(&error)),
        };
        let shared = (&self.config, &self.permits);
        let call = timeout_at(deadline, Call::new(&link, shared, deadline, good)).await;
        let Some(mut call) = call.unwrap_or_default() else {
            return unavailable(outcomes, &indices, Reason::of(&NatsError::Lost));
        };
        let end = timeout_at(deadline, call.run(outcomes)).await.unwrap_or(Err(End::Late));
        let unsent: Vec<_> = call.unsent().collect();
        let reason = match end {
            Err(End::Late) => "the deadline came before the NATS server took the message".into(),
            _ => Reason::of(&NatsError::Lost),
        };
        unavailable(outcomes, &unsent, reason);
    }

    async fn check(&self) -> Result<(), Reason> {
        let answer = timeout(2 * self.config.connect_timeout(), self.ask()).await;
        answer.unwrap_or_else(|_| Err("the NATS server does not answer".into()))
    }

    async fn close(&self) -> Result<(), Reason> {
        let link = match std::mem::replace(&mut *self.state.lock().await, State::Closed) {
            State::Open(link) => link,
            State::Closed => None,
        };
        // Calls that are under way have deadlines of their own.
        drop(self.calls.write().await);
        drop(link);
        Ok(())
    }
}

impl fmt::Debug for NatsPublisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsPublisher").field("config", &self.config).finish_non_exhaustive()
    }
}
