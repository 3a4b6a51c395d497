//! The publisher.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use async_trait::async_trait;
use outbox_core::{Message, Outcome, Publisher, Reason};
use tokio::sync::{Mutex, RwLock, RwLockReadGuard};
use tokio::time::{Instant, timeout, timeout_at};

use crate::departure::depart;
use crate::flight::Passenger;
use crate::link::Link;
use crate::mapping::Letter;
use crate::{RabbitMqConfig, RabbitMqError};

/// How many things the broker is asked about at a time. Each takes a channel of its own, as the
/// broker says no by closing it.
pub(crate) const QUESTIONS: usize = 16;

/// What a broker may add to the headers of a message (where it came from, how often it was
/// delivered), in bytes: all of them must fit into one frame again on their way to the consumer.
const ADDED: usize = 1024;

/// Publishes to RabbitMQ.
#[derive(Debug)]
pub struct RabbitMqPublisher {
    config: RabbitMqConfig,
    link: Mutex<Option<Arc<Link>>>,
    /// With which of the servers connecting begins.
    next: AtomicUsize,
    /// Publishing holds it for reading, closing for writing: it lets what is under way end.
    closed: RwLock<bool>,
}

impl RabbitMqPublisher {
    /// Connects. Later, it connects again by itself.
    pub async fn connect(config: RabbitMqConfig) -> Result<Self, RabbitMqError> {
        config.check()?;
        let next = AtomicUsize::new(0);
        let link = Mutex::new(Some(Arc::new(Link::connect(&config, &next).await?)));
        Ok(Self { config, link, next, closed: RwLock::new(false) })
    }

    /// The connection, made anew if it has failed.
    async fn link(&self) -> Result<Arc<Link>, RabbitMqError> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| link.is_usable()) {
            return Ok(link.clone());
        }
        let new = Arc::new(Link::connect(&self.config, &self.next).await?);
        if link.as_ref().is_some_and(|old| old.is_blocked()) {
            // An error says that the broker takes what is sent to it, though not everything.
            let _ = timeout(self.config.connect_timeout(), new.probe()).await;
        }
        *link = Some(new.clone());
        Ok(new)
    }

    /// While what it returns lives, closing waits.
    async fn open(&self, deadline: Instant) -> Result<RwLockReadGuard<'_, bool>, Reason> {
        match timeout_at(deadline, self.closed.read()).await {
            Ok(closed) if *closed => Err(Reason::of(&RabbitMqError::Closed)),
            Ok(open) => Ok(open),
            Err(_) => Err("the publisher is being closed".into()),
        }
    }

    fn letter(&self, message: &Message) -> Result<Letter, Reason> {
        let topic = message.topic();
        let none = || Reason::new("the configuration has no destination for this topic");
        let key = self.config.destination.of(topic).ok_or_else(none)?;
        let exchange = match &self.config.exchange {
            Some(exchanges) => exchanges.of(topic).ok_or_else(none)?,
            None => "".into(),
        };
        let (size, limit) = (message.payload().len(), self.config.max_message_bytes);
        if size > limit {
            return Err(Reason::new(format!("the payload has {size} bytes, the limit is {limit}")));
        }
        Letter::new(message, &exchange, &key)
    }

    async fn usable(&self, deadline: Instant) -> Result<Arc<Link>, Reason> {
        let link = match timeout_at(deadline, self.link()).await {
            Ok(link) => link.map_err(|error| Reason::of(&error))?,
            Err(_) => return Err("no connection to RabbitMQ in time".into()),
        };
        if link.is_blocked() {
            return Err("RabbitMQ takes no messages now: its memory or disk alarm is on".into());
        }
        Ok(link)
    }
}

#[async_trait]
impl Publisher for RabbitMqPublisher {
    async fn publish(
        &self,
        batch: &[Arc<Message>],
        deadline: std::time::Instant,
        outcomes: &mut [Outcome],
    ) {
        let deadline = Instant::from_std(deadline);
        let late = Outcome::Unavailable("not sent by the deadline".into());
        if deadline <= Instant::now() {
            return outcomes.fill(late);
        }
        let _open = match self.open(deadline).await {
            Ok(open) => open,
            Err(reason) => return outcomes.fill(Outcome::Unavailable(reason)),
        };
        let mut passengers = Vec::with_capacity(batch.len());
        for (message, outcome) in batch.iter().zip(outcomes) {
            match self.letter(message) {
                Ok(letter) => {
                    *outcome = late.clone();
                    passengers.push(Passenger { message, letter, outcome });
                }
                Err(reason) => *outcome = Outcome::Rejected(reason),
            }
        }
        if passengers.is_empty() {
            return;
        }
        let link = match self.usable(deadline).await {
            Ok(link) => link,
            Err(reason) => {
                for passenger in passengers {
                    *passenger.outcome = Outcome::Unavailable(reason.clone());
                }
                return;
            }
        };
        let (ready, oversized): (Vec<_>, Vec<_>) = passengers
            .into_iter()
            .partition(|passenger| passenger.letter.header_bytes + ADDED <= link.frame_max());
        for passenger in oversized {
            let reason = "the headers are larger than a frame of this connection";
            *passenger.outcome = Outcome::Rejected(reason.into());
        }
        depart(&link, self.config.declare_queues, ready, deadline).await;
    }

    async fn check(&self) -> Result<(), Reason> {
        let deadline = Instant::now() + self.config.longest_connect();
        let _open = self.open(deadline).await?;
        let link = self.usable(deadline).await?;
        match timeout(self.config.connect_timeout(), link.ask()).await {
            Ok(answer) => answer.map_err(|error| Reason::of(&error)),
            Err(_) => Err("RabbitMQ does not answer".into()),
        }
    }

    async fn close(&self) -> Result<(), Reason> {
        *self.closed.write().await = true;
        let Some(link) = self.link.lock().await.take().filter(|link| link.is_usable()) else {
            return Ok(());
        };
        // All that was published has been answered or given up: there is nothing left to lose.
        let closed = timeout(self.config.connect_timeout(), link.close()).await;
        link.cut();
        match closed {
            Ok(closed) => closed.map_err(|error| Reason::of(&error)),
            Err(_) => Err("RabbitMQ does not answer".into()),
        }
    }
}
