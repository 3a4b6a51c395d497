//! What becomes of the messages of a flight.

use std::collections::{BTreeMap, HashSet};

use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender};
use futures::stream::{self, StreamExt as _};
use lapin::Error;
use lapin::message::BasicReturnMessage;
use lapin::types::ShortString;
use outbox_core::{Message, Outcome, Reason};

use crate::link::Link;
use crate::mapping::Letter;
use crate::outcome;
use crate::publisher::QUESTIONS;

/// What came of sending.
pub(crate) enum Answer {
    /// Not all of it was written.
    Unsent(Error),
    /// No confirmation can come any more.
    Lost(Error),
    /// Confirmed, together with some message that came back.
    Taken(Option<Box<BasicReturnMessage>>),
    /// Negatively confirmed, likewise.
    Refused(Option<Box<BasicReturnMessage>>),
    /// Not confirmed, as the channel doesn't.
    Unconfirmed,
}

/// A message that came back through the default exchange: for which queue, and where its outcome is
/// written.
pub(crate) type Returned<'a> = (ShortString, &'a mut Outcome);

/// What is known, and what is known for sure.
pub(crate) struct Record<'a> {
    link: &'a Link,
    cargo: &'a [(&'a Message, Letter)],
    /// Empty once it is somebody else's to write.
    outcomes: Vec<Option<&'a mut Outcome>>,
    unanswered: usize,
    /// Confirmed, unless they turn out to have come back.
    confirmed: Vec<usize>,
    /// The ids of those that came back.
    came_back: HashSet<String>,
    returned: UnboundedSender<Returned<'a>>,
    /// Whether a single message was without an answer when the channel failed.
    alone: Option<bool>,
}

impl<'a> Record<'a> {
    /// Hands on what has come `returned`, and why isn't known.
    pub(crate) fn new(
        link: &'a Link,
        cargo: &'a [(&'a Message, Letter)],
        outcomes: Vec<&'a mut Outcome>,
        returned: UnboundedSender<Returned<'a>>,
    ) -> Self {
        let unanswered = outcomes.len();
        let outcomes = outcomes.into_iter().map(Some).collect();
        let (confirmed, came_back) = (Vec::new(), HashSet::new());
        Self { link, cargo, outcomes, unanswered, confirmed, came_back, returned, alone: None }
    }

    pub(crate) fn on(&mut self, n: usize, answer: Answer) {
        let unanswered = self.unanswered;
        self.unanswered -= 1;
        match answer {
            Answer::Unsent(error) => self.is(n, outcome::unsent(&error)),
            Answer::Lost(error) => {
                let alone = *self.alone.get_or_insert(unanswered == 1);
                self.link.forget_exchange(self.cargo[n].1.exchange.as_str());
                self.is(n, outcome::unanswered(&error, alone));
            }
            Answer::Refused(message) => {
                self.came_back(message);
                let reason = "RabbitMQ did not take it (nack): a queue is full or has failed";
                self.is(n, Outcome::Failed(reason.into()));
            }
            Answer::Taken(message) => {
                self.came_back(message);
                self.confirmed.push(n);
            }
            Answer::Unconfirmed => {}
        }
    }

    /// How many are confirmed and not settled.
    pub(crate) fn confirmed(&self) -> usize {
        self.confirmed.len()
    }

    /// Settles the first `sure` of those that are confirmed.
    pub(crate) fn settle(&mut self, sure: usize) {
        let sure: Vec<_> = self.confirmed.drain(..sure.min(self.confirmed.len())).collect();
        for n in sure {
            let (message, letter) = &self.cargo[n];
            // Mostly none did.
            let none = self.came_back.is_empty();
            if none || !self.came_back.contains(&message.id().to_string()) {
                self.is(n, Outcome::Delivered);
            } else if letter.exchange.as_str().is_empty() {
                self.ask(n, letter.routing_key.clone());
            } else {
                // Which queues are bound, and whether their nodes are up, AMQP can't say.
                self.is(
                    n,
                    Outcome::Failed(Reason::new(format!(
                        "no queue that can be reached is bound to exchange `{}` for `{}`",
                        letter.exchange, letter.routing_key
                    ))),
                );
            }
        }
    }

    fn is(&mut self, n: usize, outcome: Outcome) {
        if let Some(place) = &mut self.outcomes[n] {
            **place = outcome;
        }
    }

    fn ask(&mut self, n: usize, queue: ShortString) {
        let Some(outcome) = self.outcomes[n].take() else { return };
        let reason = format!("it came back from queue `{queue}`, and there was no time to ask why");
        *outcome = Outcome::Unavailable(Reason::new(reason));
        // Nobody reads it only if the flight is over.
        let _ = self.returned.unbounded_send((queue, outcome));
    }

    fn came_back(&mut self, message: Option<Box<BasicReturnMessage>>) {
        let id = message.and_then(|message| message.properties.message_id().clone());
        self.came_back.extend(id.map(|id| id.to_string()));
    }
}

/// Finds out why messages came back, each queue once for all that are there.
pub(crate) async fn explain(link: &Link, returned: UnboundedReceiver<Returned<'_>>) {
    returned
        .ready_chunks(usize::from(u16::MAX))
        .flat_map(|some| stream::iter(by_queue(some)))
        .for_each_concurrent(QUESTIONS, |messages| explain_one(link, messages))
        .await;
}

fn by_queue<'a>(messages: Vec<Returned<'a>>) -> impl Iterator<Item = Vec<Returned<'a>>> {
    let mut queues: BTreeMap<String, Vec<Returned<'a>>> = BTreeMap::new();
    for message in messages {
        queues.entry(message.0.to_string()).or_default().push(message);
    }
    queues.into_values()
}

async fn explain_one(link: &Link, messages: Vec<Returned<'_>>) {
    let explained = link.explain_return(&messages[0].0).await;
    for (_, outcome) in messages {
        *outcome = explained.clone();
    }
}
