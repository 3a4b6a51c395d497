//! Messages to one exchange, from the first byte to the last confirmation.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures::future::{Either, FutureExt as _, select};
use futures::stream::{FuturesUnordered, StreamExt as _};
use lapin::message::BasicReturnMessage;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{Channel, Confirmation, Error};
use outbox_core::{Message, Outcome, Reason};
use tokio::time::{Instant, sleep, timeout_at};

use crate::link::Link;
use crate::mapping::Letter;
use crate::outcome;

/// A message, and where its outcome is written.
pub(crate) struct Passenger<'a> {
    pub(crate) message: &'a Message,
    pub(crate) letter: Letter,
    pub(crate) outcome: &'a mut Outcome,
}

/// How long confirmations are collected before the broker is asked if messages can still come back.
const PAUSE: Duration = Duration::from_millis(20);

/// Sends all, then awaits every confirmation, until `deadline` at the latest.
pub(crate) async fn fly(link: &Link, passengers: Vec<Passenger<'_>>, deadline: Instant) {
    let channel = match timeout_at(deadline, link.channel()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return refuse(passengers, &outcome::unsent(&error)),
        Err(_) => return refuse(passengers, &Outcome::Unavailable("no channel in time".into())),
    };
    let (cargo, outcomes): (Vec<_>, Vec<_>) = passengers
        .into_iter()
        .map(|passenger| ((passenger.message, passenger.letter), passenger.outcome))
        .unzip();
    let guard = Guard::new(link, cargo.len());
    let mut record = Record::new(link, &cargo, outcomes);
    let mut sending: FuturesUnordered<_> =
        cargo.iter().enumerate().map(|(n, item)| send(&channel, n, item, &guard)).collect();
    let end = timeout_at(deadline, async {
        while !sending.is_empty() {
            settle_some(&channel, &mut sending, &mut record, &guard).await;
        }
        record.settle(usize::MAX);
    });
    let all_answered = end.await.is_ok();
    drop(sending);
    drop(guard);
    if all_answered {
        link.put_back(channel);
    }
}

fn refuse(passengers: Vec<Passenger<'_>>, outcome: &Outcome) {
    for passenger in passengers {
        *passenger.outcome = outcome.clone();
    }
}

/// Collects confirmations for a while, then makes sure of those that it has.
///
/// A message that no queue takes comes back before it is confirmed, but the client attaches it to
/// any confirmation that arrives together with its own. Once all are in, nothing can be missing.
/// Before that, whatever the broker had sent before it answers a question is in with the answer.
async fn settle_some<S: futures::Stream<Item = (usize, Answer)> + Unpin>(
    channel: &Channel,
    answers: &mut S,
    record: &mut Record<'_>,
    guard: &Guard<'_>,
) {
    let mut pause = Box::pin(sleep(PAUSE));
    while let Either::Left((answer, _)) = select(answers.next(), &mut pause).await {
        let Some((n, answer)) = answer else { return };
        guard.on(&answer);
        record.on(n, answer);
    }
    let sure = record.confirmed.len();
    if sure == 0 {
        return;
    }
    let mut question = Box::pin(channel.confirm_select(ConfirmSelectOptions::default()));
    loop {
        match select(answers.next(), &mut question).await {
            Either::Left((Some((n, answer)), _)) => {
                guard.on(&answer);
                record.on(n, answer);
            }
            Either::Right((Ok(()), _)) => break,
            // The channel is closed: every confirmation that is missing turns into an error.
            Either::Right((Err(_), _)) | Either::Left((None, _)) => return,
        }
    }
    while let Some(Some((n, answer))) = answers.next().now_or_never() {
        guard.on(&answer);
        record.on(n, answer);
    }
    record.settle(sure);
}

/// What came of sending.
enum Answer {
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

async fn send(
    channel: &Channel,
    n: usize,
    (message, letter): &(&Message, Letter),
    guard: &Guard<'_>,
) -> (usize, Answer) {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let (exchange, key) = (letter.exchange.clone(), letter.routing_key.clone());
    let properties = letter.properties.clone();
    let writing = channel.basic_publish(exchange, key, options, message.payload(), properties);
    let confirmation = match writing.await {
        Ok(confirmation) => confirmation,
        Err(error) => return (n, Answer::Unsent(error)),
    };
    guard.written();
    let answer = match confirmation.await {
        Ok(Confirmation::Ack(returned)) => Answer::Taken(returned.map(Box::new)),
        Ok(Confirmation::Nack(returned)) => Answer::Refused(returned.map(Box::new)),
        Ok(Confirmation::NotRequested) => Answer::Unconfirmed,
        Err(error) => Answer::Lost(error),
    };
    (n, answer)
}

/// Cuts the connection if, at the end, the client still has something to write for us.
struct Guard<'a> {
    link: &'a Link,
    unwritten: AtomicUsize,
    unanswered: AtomicUsize,
}

impl<'a> Guard<'a> {
    fn new(link: &'a Link, count: usize) -> Self {
        Self { link, unwritten: AtomicUsize::new(count), unanswered: AtomicUsize::new(count) }
    }

    fn written(&self) {
        self.unwritten.fetch_sub(1, Ordering::Relaxed);
    }

    fn on(&self, answer: &Answer) {
        self.unanswered.fetch_sub(1, Ordering::Relaxed);
        if let Answer::Unsent(_) = answer {
            self.written();
        }
    }
}

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        // TLS may hold back what counts as written.
        let encrypted = self.link.is_encrypted();
        let waiting = if encrypted { &self.unanswered } else { &self.unwritten };
        if waiting.load(Ordering::Relaxed) > 0 {
            self.link.cut();
        }
    }
}

/// What is known, and what is known for sure.
struct Record<'a> {
    link: &'a Link,
    cargo: &'a [(&'a Message, Letter)],
    outcomes: Vec<&'a mut Outcome>,
    unanswered: usize,
    /// Confirmed, unless they turn out to have come back.
    confirmed: Vec<usize>,
    returned: HashMap<String, Outcome>,
    /// Whether a single message was without an answer when the channel failed.
    alone: Option<bool>,
}

impl<'a> Record<'a> {
    fn new(
        link: &'a Link,
        cargo: &'a [(&'a Message, Letter)],
        outcomes: Vec<&'a mut Outcome>,
    ) -> Self {
        let unanswered = outcomes.len();
        let (confirmed, returned) = (Vec::new(), HashMap::new());
        Self { link, cargo, outcomes, unanswered, confirmed, returned, alone: None }
    }

    fn on(&mut self, n: usize, answer: Answer) {
        let unanswered = self.unanswered;
        self.unanswered -= 1;
        match answer {
            Answer::Unsent(error) => *self.outcomes[n] = outcome::unsent(&error),
            Answer::Lost(error) => {
                let alone = *self.alone.get_or_insert(unanswered == 1);
                self.link.forget_exchange(self.cargo[n].1.exchange.as_str());
                *self.outcomes[n] = outcome::unanswered(&error, alone);
            }
            Answer::Refused(returned) => {
                self.came_back(returned);
                let reason = "RabbitMQ did not take it (nack): a queue is full or has failed";
                *self.outcomes[n] = Outcome::Failed(reason.into());
            }
            Answer::Taken(returned) => {
                self.came_back(returned);
                self.confirmed.push(n);
            }
            Answer::Unconfirmed => {}
        }
    }

    fn came_back(&mut self, message: Option<Box<BasicReturnMessage>>) {
        let Some(message) = message else { return };
        let id = message.properties.message_id().as_ref().map(ToString::to_string);
        let (exchange, queue) = (message.exchange.as_str(), message.routing_key.as_str());
        let says = message.reply_text.as_str();
        let reason = if exchange.is_empty() {
            format!("there is no queue `{queue}` ({says})")
        } else {
            format!("no queue is bound to exchange `{exchange}` for `{queue}` ({says})")
        };
        let outcome = if exchange.is_empty() && self.link.forget_queue(queue) {
            Outcome::Failed(Reason::new(format!("{reason} any more; it is created again")))
        } else {
            Outcome::Rejected(Reason::new(reason))
        };
        self.returned.insert(id.unwrap_or_default(), outcome);
    }

    /// Settles the first `sure` of those that are confirmed.
    fn settle(&mut self, sure: usize) {
        for n in self.confirmed.drain(..sure.min(self.confirmed.len())) {
            let id = self.cargo[n].0.id().to_string();
            *self.outcomes[n] = match self.returned.get(&id) {
                Some(outcome) => outcome.clone(),
                None => Outcome::Delivered,
            };
        }
    }
}
