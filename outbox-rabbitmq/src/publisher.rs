//! The publisher.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use futures::future::join_all;
use outbox_core::{Message, Outcome, Publisher, Reason};
use tokio::sync::{Mutex, RwLock};
use tokio::time::{Instant, timeout, timeout_at};

use crate::flight::{Passenger, fly};
use crate::link::Link;
use crate::mapping::Letter;
use crate::outcome::{undeclared, unsent};
use crate::{RabbitMqConfig, RabbitMqError};

/// Publishes to RabbitMQ.
#[derive(Debug)]
pub struct RabbitMqPublisher {
    config: RabbitMqConfig,
    link: Mutex<Option<Arc<Link>>>,
    /// Publishing holds it for reading, closing for writing: it lets what is under way end.
    closed: RwLock<bool>,
}

impl RabbitMqPublisher {
    /// Connects. Later, it connects again by itself.
    pub async fn connect(config: RabbitMqConfig) -> Result<Self, RabbitMqError> {
        config.check()?;
        let link = Mutex::new(Some(Arc::new(Link::connect(&config).await?)));
        Ok(Self { config, link, closed: RwLock::new(false) })
    }

    /// The connection, made anew if it has failed.
    async fn link(&self) -> Result<Arc<Link>, RabbitMqError> {
        let mut link = self.link.lock().await;
        if let Some(link) = link.as_ref().filter(|link| link.is_usable()) {
            return Ok(link.clone());
        }
        let new = Arc::new(Link::connect(&self.config).await?);
        *link = Some(new.clone());
        Ok(new)
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

    /// Sees to it that what these messages go to exists. Returns those that can be sent.
    async fn prepare<'a>(&self, link: &Link, passengers: Vec<Passenger<'a>>) -> Vec<Passenger<'a>> {
        let mut ready = Vec::with_capacity(passengers.len());
        for passenger in passengers {
            let letter = &passenger.letter;
            let refused = if letter.header_bytes > link.frame_max() {
                let reason = "the headers are larger than a frame of this connection";
                Some(Outcome::Rejected(reason.into()))
            } else if let Some(of) = self.config.declare_queues {
                link.make_queue(&letter.routing_key, of).await.err().map(|e| undeclared(&e))
            } else {
                match link.has_exchange(&letter.exchange).await {
                    Ok(true) => None,
                    Ok(false) => {
                        let reason = format!("there is no exchange `{}`", letter.exchange);
                        Some(Outcome::Rejected(reason.into()))
                    }
                    Err(error) => Some(unsent(&error)),
                }
            };
            match refused {
                Some(outcome) => *passenger.outcome = outcome,
                None => ready.push(passenger),
            }
        }
        ready
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
        if deadline <= Instant::now() {
            return;
        }
        let closed = match timeout_at(deadline, self.closed.read()).await {
            Ok(closed) if !*closed => closed,
            _ => return outcomes.fill(Outcome::Unavailable(Reason::of(&RabbitMqError::Closed))),
        };
        let mut passengers = Vec::with_capacity(batch.len());
        for (message, outcome) in batch.iter().zip(outcomes) {
            match self.letter(message) {
                Ok(letter) => passengers.push(Passenger { message, letter, outcome }),
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
        // Those that aren't ready in time have not been sent.
        for passenger in &mut passengers {
            *passenger.outcome = Outcome::Unavailable("not sent by the deadline".into());
        }
        let Ok(ready) = timeout_at(deadline, self.prepare(&link, passengers)).await else { return };
        let mut flights: BTreeMap<String, Vec<Passenger<'_>>> = BTreeMap::new();
        for passenger in ready {
            *passenger.outcome = Outcome::Unknown;
            flights.entry(passenger.letter.exchange.to_string()).or_default().push(passenger);
        }
        join_all(flights.into_values().map(|flight| fly(&link, flight, deadline))).await;
        drop(closed);
    }

    async fn check(&self) -> Result<(), Reason> {
        if *self.closed.read().await {
            return Err(Reason::of(&RabbitMqError::Closed));
        }
        let patience = self.config.connect_timeout();
        let link = self.usable(Instant::now() + patience).await?;
        match timeout(patience, link.ask()).await {
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
