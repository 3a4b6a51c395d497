//! One call of `publish` as a Kafka transaction: all of it is delivered, or nothing.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use outbox_core::{Outcome, Reason};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::time::timeout_at;

use crate::call::{AGAIN, Call};
use crate::client::{Client, is_not_committed};
use crate::outcome;
use crate::pool::{Lent, Requests};
use crate::topics::Topics;

/// Sends everything and commits it once all of it is written.
///
/// If a message can't be written, nothing was delivered: the transaction is given up, and a new one
/// made without that message and what comes after it in its lane. It would be in the way for ever
/// otherwise: of a run whose first message isn't at fault, the relay hears only the first outcome.
pub(crate) async fn run(mut call: Call<'_>, mut lent: Lent<'_>, topics: &Topics) {
    let mut requests = Requests::Full;
    while !call.items.is_empty() {
        let mut late = AGAIN;
        let done = match write(&mut call, &mut lent, topics).await {
            Ok(()) => commit(&call, &mut lent).await,
            obstacle => obstacle,
        };
        match done {
            Ok(()) => {
                call.fill(&Outcome::Delivered);
                return lent.keep();
            }
            Err(Obstacle::Unclear(suspects)) if call.is_late() => return call.blame(&suspects),
            Err(Obstacle::Unclear(_)) => requests = Requests::OneByOne,
            Err(Obstacle::Messages(guilty)) => {
                call.set_aside(|index, _| guilty.get(&index).cloned());
            }
            Err(Obstacle::Fenced(outcome)) => {
                lent.give_way(call.by).await;
                late = outcome;
            }
            Err(Obstacle::All(outcome)) => return call.fill(&outcome),
        }
        if call.is_late() {
            return call.fill(&late);
        }
        if let Err(error) = lent.reconnect(call.by, requests).await {
            return call.fill(&outcome::of_error(&error));
        }
    }
    lent.keep();
}

/// Why a transaction can't be committed.
enum Obstacle {
    /// These messages are at fault.
    Messages(HashMap<usize, Outcome>),
    /// Some of these are at fault, and to know which, they must be sent one by one.
    Unclear(HashSet<usize>),
    /// Another producer has taken the transactional id before the commit, and may have a right to it.
    /// For who has no time to find out, an outcome.
    Fenced(Outcome),
    /// It isn't for the messages.
    All(Outcome),
}

/// Writes everything, in a transaction that is open afterwards; or says what was in the way, and
/// gives the transaction up.
async fn write(call: &mut Call<'_>, lent: &mut Lent<'_>, topics: &Topics) -> Result<(), Obstacle> {
    begin(call, lent).await?;
    let client = lent.client();
    let refused = call.send(client);
    let refused = refused.into_iter().map(|(index, code)| (index, outcome::not_accepted(code)));
    let mut guilty: HashMap<_, _> = refused.collect();
    let mut failures = Vec::new();
    if guilty.is_empty() {
        match timeout_at(call.by.into(), client.failure()).await {
            Ok(None) => return Ok(()),
            Ok(Some(failure)) => failures.push(failure),
            Err(_) => {}
        }
    }
    let until = call.deadline.min(Instant::now() + LAST_REPORTS);
    client.purge(until).await;
    while let Ok(Some(report)) = timeout_at(until.into(), client.report()).await {
        failures.push(report);
    }
    fenced(lent)?;
    let unclear = failures.iter().filter(|report| call.is_unclear(**report));
    let unclear: HashSet<_> = unclear.map(|report| report.index).collect();
    if !unclear.is_empty() {
        return Err(Obstacle::Unclear(unclear));
    }
    for report in failures {
        let outcome = call.judge(report, topics);
        if !is_innocent(report.error) {
            guilty.insert(report.index, uncommitted(outcome));
        }
    }
    let slow = "Kafka: the batch was not written in time, and its transaction is given up";
    let slow = Outcome::Unavailable(slow.into());
    let is_theirs =
        |outcome: &Outcome| matches!(outcome, Outcome::Failed(_) | Outcome::Rejected(_));
    let all = if guilty.is_empty() { Some(slow) } else { None };
    match all.or_else(|| guilty.values().find(|outcome| !is_theirs(outcome)).cloned()) {
        Some(outcome) => Err(Obstacle::All(outcome)),
        None => Err(Obstacle::Messages(guilty)),
    }
}

/// librdkafka waits for a thread of its own, and for as long as that takes.
async fn begin(call: &Call<'_>, lent: &mut Lent<'_>) -> Result<(), Obstacle> {
    match timeout_at(call.by.into(), lent.block_on(Client::begin_transaction)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => {
            fenced(lent)?;
            Err(Obstacle::All(unavailable(&error)))
        }
        Err(_) => Err(Obstacle::All(Outcome::Unavailable("Kafka: the client stands still".into()))),
    }
}

async fn commit(call: &Call<'_>, lent: &mut Lent<'_>) -> Result<(), Obstacle> {
    if call.is_late() {
        let slow = "Kafka: there was no time left to commit the transaction";
        return Err(Obstacle::All(Outcome::Unavailable(slow.into())));
    }
    let patience = call.by.saturating_duration_since(Instant::now());
    let committed = lent.block_on(move |client| client.commit_transaction(patience)).await;
    let Err(error) = committed else { return Ok(()) };
    if is_not_committed(&error) {
        return Err(Obstacle::All(unavailable(&error)));
    }
    // Whether it was committed is known to the broker only. Being fenced doesn't say that it wasn't:
    // librdkafka may have tried it before, and doesn't speak of answers after which it tries again.
    Err(Obstacle::All(Outcome::Unknown))
}

/// Whether it is to be found out who may write.
fn fenced(lent: &mut Lent<'_>) -> Result<(), Obstacle> {
    match lent.fenced() {
        Some(error) => Err(Obstacle::Fenced(outcome::of_error(&error))),
        None => Ok(()),
    }
}

/// How long reports are waited for that have been made.
const LAST_REPORTS: Duration = Duration::from_secs(1);

/// Whether the message would have been written but for another.
fn is_innocent(error: Option<Code>) -> bool {
    error.is_none_or(outcome::is_purged)
}

/// What nobody commits is not delivered, whether it was written or not.
fn uncommitted(outcome: Outcome) -> Outcome {
    match outcome {
        Outcome::Unknown => {
            Outcome::Unavailable("Kafka: it can't be told whether it was written".into())
        }
        other => other,
    }
}

fn unavailable(error: &ClientError) -> Outcome {
    Outcome::Unavailable(Reason::new(format!("Kafka: {error}")))
}
