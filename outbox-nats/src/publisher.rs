//! The publisher.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_trait::async_trait;
use bytes::Bytes;
use outbox_core::{FencingToken, Message, Outcome, Publisher, Reason};
use serde::de::IgnoredAny;
use tokio::sync::{Mutex, RwLock, RwLockReadGuard, Semaphore};
use tokio::time::{self, timeout, timeout_at};

use crate::call::Call;
use crate::fence::Fence;
use crate::link::{End, Link, api};
use crate::mapping::Outgoing;
use crate::outcome::{Bar, denied};
use crate::rounds::Rounds;
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
        let denials = link.denials();
        let answer = tokio::select! {
            answer = link.client().request(question.clone(), Bytes::new()) => answer,
            () = denied(denials, &question) => return Ok(()),
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

    /// The messages in the form in which they are sent, with their places in the batch.
    fn mapped(&self, batch: &[Arc<Message>], outcomes: &mut [Outcome]) -> Vec<(usize, Outgoing)> {
        let mut good = Vec::with_capacity(batch.len());
        for (index, message) in batch.iter().enumerate() {
            match Outgoing::of(message, &self.config.destination) {
                Ok(outgoing) => good.push((index, outgoing)),
                Err(reason) => outcomes[index] = Outcome::Rejected(reason),
            }
        }
        good
    }

    /// The connection that a call sends by, which the close waits for.
    async fn begin(
        &self,
        deadline: time::Instant,
        messages: &mut Vec<(usize, Outgoing)>,
        outcomes: &mut [Outcome],
    ) -> Option<(RwLockReadGuard<'_, ()>, Arc<Link>)> {
        if messages.is_empty() {
            return None;
        }
        let indices: Vec<_> = messages.iter().map(|(index, _)| *index).collect();
        let begin = async {
            let calls = self.calls.try_read().map_err(|_| NatsError::Closed)?;
            let link = self.link(Duration::MAX).await?;
            Ok((calls, self.with_room(link, messages, outcomes).await))
        };
        match timeout_at(deadline, begin).await.unwrap_or(Err(NatsError::TimedOut)) {
            Ok(begun) => Some(begun),
            Err(error) => {
                unavailable(outcomes, &indices, &Reason::of(&error));
                None
            }
        }
    }

    /// Returns when every message has its outcome, and which of them a fence let not pass.
    async fn send(
        &self,
        link: &Link,
        deadline: time::Instant,
        messages: Vec<(usize, Outgoing)>,
        outcomes: &mut [Outcome],
    ) -> Vec<(usize, Bar)> {
        let indices: Vec<_> = messages.iter().map(|(index, _)| *index).collect();
        let shared = (&self.config, &self.permits);
        let call = timeout_at(deadline, Call::new(link, shared, deadline, messages)).await;
        let Some(mut call) = call.unwrap_or_default() else {
            unavailable(outcomes, &indices, &End::Lost.reason());
            return Vec::new();
        };
        let end = timeout_at(deadline, call.run(outcomes)).await.unwrap_or(Err(End::Late));
        let unsent: Vec<_> = call.unsent().collect();
        unavailable(outcomes, &unsent, &end.err().unwrap_or(End::Lost).reason());
        call.barred()
    }

    async fn send_in_rounds(
        &self,
        link: &Link,
        deadline: time::Instant,
        mut rounds: Rounds<'_>,
        outcomes: &mut [Outcome],
    ) {
        let end = loop {
            let round = match link.answer(deadline, rounds.next(outcomes)).await {
                Ok(round) => round,
                Err(end) => break end,
            };
            if round.is_empty() {
                return;
            }
            let barred = self.send(link, deadline, round, outcomes).await;
            rounds.again(barred, outcomes);
            if link.is_lost() {
                break End::Lost;
            }
        };
        rounds.end(&end.reason(), outcomes);
    }
}

const NO_EPOCHS: &str = "the option `fence` needs the epochs of a relay, which are missing";

fn unavailable(outcomes: &mut [Outcome], indices: &[usize], reason: &Reason) {
    for index in indices {
        outcomes[*index] = Outcome::Unavailable(reason.clone());
    }
}

#[async_trait]
impl Publisher for NatsPublisher {
    async fn publish(&self, batch: &[Arc<Message>], deadline: Instant, outcomes: &mut [Outcome]) {
        if self.config.fence.is_some() {
            return outcomes.fill(Outcome::Unavailable(NO_EPOCHS.into()));
        }
        let deadline = deadline.into();
        let mut good = self.mapped(batch, outcomes);
        if let Some((_going_on, link)) = self.begin(deadline, &mut good, outcomes).await {
            self.send(&link, deadline, good, outcomes).await;
        }
    }

    async fn publish_fenced(
        &self,
        batch: &[Arc<Message>],
        tokens: &[FencingToken],
        deadline: Instant,
        outcomes: &mut [Outcome],
    ) {
        let Some(template) = &self.config.fence else {
            return self.publish(batch, deadline, outcomes).await;
        };
        if tokens.len() != batch.len() {
            return outcomes.fill(Outcome::Unavailable(NO_EPOCHS.into()));
        }
        let deadline = deadline.into();
        let (mut good, mut fences) = (Vec::with_capacity(batch.len()), HashMap::new());
        for (index, message) in self.mapped(batch, outcomes) {
            match Fence::of(&message, batch[index].topic(), template, tokens[index]) {
                Ok(fence) => {
                    // The longest number there is: its size is looked at before its claim is known.
                    good.push((index, message.expecting(&fence.subject, u64::MAX)));
                    fences.insert(index, fence);
                }
                Err(outcome) => outcomes[index] = outcome,
            }
        }
        if let Some((_going_on, link)) = self.begin(deadline, &mut good, outcomes).await {
            let fenced = good
                .into_iter()
                .filter_map(|(index, message)| Some((index, message, fences.remove(&index)?)));
            let rounds = Rounds::new(batch, (&link, &self.config), fenced);
            self.send_in_rounds(&link, deadline, rounds, outcomes).await;
        }
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
