//! Messages to one exchange, from the first byte to the last confirmation.

use std::mem;
use std::pin::pin;

use futures::Stream;
use futures::channel::mpsc;
use futures::future::{Either, FutureExt as _, join, select};
use futures::stream::{FuturesUnordered, StreamExt as _};
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::{BasicProperties, Channel, Confirmation};
use outbox_core::{Message, Outcome};
use tokio::time::{Instant, sleep, timeout_at};

use crate::guard::Guard;
use crate::link::{Link, PAUSE};
use crate::mapping::Letter;
use crate::outcome;
use crate::record::{Answer, Record, explain};

/// A message, and where its outcome is written.
pub(crate) struct Passenger<'a> {
    pub(crate) message: &'a Message,
    pub(crate) letter: Letter,
    pub(crate) outcome: &'a mut Outcome,
}

/// Sends all, then awaits every confirmation, until `deadline` at the latest.
pub(crate) async fn fly(link: &Link, passengers: Vec<Passenger<'_>>, deadline: Instant) {
    let channel = match timeout_at(deadline, link.channel()).await {
        Ok(Ok(channel)) => channel,
        Ok(Err(error)) => return refuse(passengers, &outcome::unsent(&error)),
        Err(_) => return refuse(passengers, &Outcome::Unavailable("no channel in time".into())),
    };
    let mut cargo = Vec::with_capacity(passengers.len());
    let mut outcomes = Vec::with_capacity(passengers.len());
    let mut properties = Vec::with_capacity(passengers.len());
    for Passenger { message, mut letter, outcome } in passengers {
        *outcome = Outcome::Unknown;
        // Needed once, and costly to clone.
        properties.push(mem::take(&mut letter.properties));
        cargo.push((message, letter));
        outcomes.push(outcome);
    }
    let guard = Guard::new(link, cargo.len());
    let (sender, returned) = mpsc::unbounded();
    let mut record = Record::new(link, &cargo, outcomes, sender);
    let sending = cargo.iter().zip(properties).enumerate();
    let mut sending: FuturesUnordered<_> =
        sending.map(|(n, (item, with))| send(&channel, n, item, with, &guard)).collect();
    let flying = async {
        while !sending.is_empty() {
            settle_some(&channel, &mut sending, &mut record, &guard).await;
        }
        record.settle(usize::MAX);
        drop(record);
    };
    let ending = join(flying, explain(link, returned));
    let ending = async { select(pin!(ending), pin!(guard.cut_when_blocked())).map(drop).await };
    // At the deadline all is dropped, and the guard sees to what has not been sent.
    let _ = timeout_at(deadline, ending).await;
    drop(sending);
    if guard.is_all_answered() {
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
/// A question that was written after all messages also tells, by its answer, that all were read.
async fn settle_some<S: Stream<Item = (usize, Answer)> + Unpin>(
    channel: &Channel,
    answers: &mut S,
    record: &mut Record<'_>,
    guard: &Guard<'_>,
) {
    let mut pause = Box::pin(sleep(PAUSE));
    while let Either::Left((answer, _)) = select(answers.next(), &mut pause).await {
        let Some((n, answer)) = answer else { return };
        record.on(n, answer);
    }
    let sure = record.confirmed();
    let is_last = guard.is_all_written();
    if sure == 0 && (!is_last || guard.is_all_read()) {
        return;
    }
    let mut question = Box::pin(channel.confirm_select(ConfirmSelectOptions::default()));
    loop {
        match select(answers.next(), &mut question).await {
            Either::Left((Some((n, answer)), _)) => record.on(n, answer),
            Either::Right((Ok(()), _)) => break,
            // The channel is closed: every confirmation that is missing turns into an error.
            Either::Right((Err(_), _)) | Either::Left((None, _)) => return,
        }
    }
    if is_last {
        guard.all_read();
    }
    while let Some(Some((n, answer))) = answers.next().now_or_never() {
        record.on(n, answer);
    }
    record.settle(sure);
}

async fn send(
    channel: &Channel,
    n: usize,
    (message, letter): &(&Message, Letter),
    properties: BasicProperties,
    guard: &Guard<'_>,
) -> (usize, Answer) {
    let options = BasicPublishOptions { mandatory: true, immediate: false };
    let (exchange, key) = (letter.exchange.clone(), letter.routing_key.clone());
    let writing = channel.basic_publish(exchange, key, options, message.payload(), properties);
    let written = writing.await;
    guard.written();
    let answer = match written {
        Err(error) => Answer::Unsent(error),
        Ok(confirmation) => match confirmation.await {
            Ok(Confirmation::Ack(returned)) => Answer::Taken(returned.map(Box::new)),
            Ok(Confirmation::Nack(returned)) => Answer::Refused(returned.map(Box::new)),
            Ok(Confirmation::NotRequested) => Answer::Unconfirmed,
            Err(error) => Answer::Lost(error),
        },
    };
    guard.answered();
    (n, answer)
}
