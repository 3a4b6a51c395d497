//! The publisher.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use async_nats::client::RequestErrorKind;
use async_nats::jetstream::response::Response;
use async_trait::async_trait;
use bytes::Bytes;
use outbox_core::{Message, Outcome, Publisher, Reason};
use serde::de::IgnoredAny;
use tokio::sync::{Mutex, RwLock, Semaphore};
use tokio::time::timeout_at;

use crate::call::Call;
use crate::link::Link;
use crate::mapping::Outgoing;
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
    /// Read by each call, written by the close that waits for them.
    calls: RwLock<()>,
}

enum State {
    Open(Option<Arc<Link>>),
    Closed,
}

impl NatsPublisher {
    /// Connects to the first server that lets us in.
    pub async fn connect(config: NatsConfig) -> Result<Self, NatsError> {
        config.check()?;
        let permits = Semaphore::new(config.max_pending);
        let (state, calls) = (Mutex::new(State::Open(None)), RwLock::default());
        let publisher = Self { config, state, permits, calls };
        publisher.link().await?;
        Ok(publisher)
    }

    /// The connection, made anew if it was lost.
    async fn link(&self) -> Result<Arc<Link>, NatsError> {
        let mut state = self.state.lock().await;
        let State::Open(link) = &mut *state else { return Err(NatsError::Closed) };
        if let Some(link) = link.as_ref().filter(|link| !link.is_lost()) {
            return Ok(link.clone());
        }
        // The old one ends before there is a new one.
        *link = None;
        Ok(link.insert(Arc::new(Link::open(&self.config).await?)).clone())
    }

    /// Asks JetStream something that every account with JetStream may ask, unless it is denied,
    /// which is an answer, too.
    async fn ask(&self) -> Result<(), Reason> {
        const QUESTION: &str = "$JS.API.INFO";
        let link = self.link().await.map_err(|error| Reason::of(&error))?;
        let mut denied = link.denied();
        let answer = tokio::select! {
            answer = link.client().request(QUESTION, Bytes::new()) => answer,
            () = async { while denied.recv().await.is_ok_and(|to| &*to != QUESTION) {} } => {
                return Ok(());
            }
        };
        let answer = answer.map_err(|error| match error.kind() {
            RequestErrorKind::NoResponders => Reason::new("the NATS server has no JetStream"),
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
        let late = Reason::new("the NATS server did not answer until the deadline");
        let deadline = deadline.into();
        let begin = async { (self.calls.read().await, self.link().await) };
        let (_going_on, link) = match timeout_at(deadline, begin).await {
            Ok((calls, Ok(link))) => (calls, link),
            Ok((_, Err(error))) => return unavailable(outcomes, &indices, Reason::of(&error)),
            Err(_) => return unavailable(outcomes, &indices, late),
        };
        let call = timeout_at(deadline, Call::new(&link, &self.permits, good)).await;
        let Ok(Some(mut call)) = call else {
            let reason = if call.is_ok() { Reason::of(&NatsError::Lost) } else { late };
            return unavailable(outcomes, &indices, reason);
        };
        let in_time = timeout_at(deadline, call.run(outcomes)).await.is_ok();
        let unsent: Vec<_> = call.unsent().collect();
        let reason = if in_time { Reason::of(&NatsError::Lost) } else { late };
        unavailable(outcomes, &unsent, reason);
    }

    async fn check(&self) -> Result<(), Reason> {
        let answer = tokio::time::timeout(2 * self.config.connect_timeout(), self.ask()).await;
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
