//! One call of `publish`: what it sends, and what becomes of it.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use outbox_core::{FencingToken, Message, Outcome, Reason};
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::task::JoinSet;
use tokio::time::timeout_at;

use crate::client::Client;
use crate::outcome::{self, Report};
use crate::pool::{Lent, Pool, Requests};
use crate::publisher;
use crate::topics::Topics;

/// The messages of a batch that nothing is known to be wrong with.
pub(crate) struct Call<'a> {
    batch: &'a [Arc<Message>],
    outcomes: &'a mut [Outcome],
    /// Index and topic of what is to be sent, in the batch's order.
    pub(crate) items: Vec<(usize, Cow<'a, str>)>,
    /// Whether what follows a message of the same key is set aside with it.
    keeps_prefix: bool,
    /// When to stop, a little before the deadline.
    pub(crate) by: Instant,
    pub(crate) deadline: Instant,
}

impl<'a> Call<'a> {
    pub(crate) fn new(
        batch: &'a [Arc<Message>],
        outcomes: &'a mut [Outcome],
        deadline: Instant,
        keeps_prefix: bool,
    ) -> Self {
        // What was not sent can be told from what wasn't answered only while there is time to.
        let left = deadline.saturating_duration_since(Instant::now());
        let early = (left / 5).min(Duration::from_millis(500));
        let by = deadline.checked_sub(early).unwrap_or(deadline);
        let items = Vec::with_capacity(batch.len());
        Self { batch, outcomes, items, keeps_prefix, by, deadline }
    }

    /// Decides for each message whether it has a place to go to.
    pub(crate) fn plan(
        &mut self,
        destination: impl Fn(&'a Message) -> Result<Cow<'a, str>, Reason>,
    ) {
        let mut rejected = HashMap::new();
        for (index, message) in self.batch.iter().enumerate() {
            let topic = destination(message).unwrap_or_else(|reason| {
                rejected.insert(index, Outcome::Rejected(reason));
                Cow::Borrowed("")
            });
            self.items.push((index, topic));
        }
        if !rejected.is_empty() {
            self.set_aside(|index, _| rejected.remove(&index));
        }
    }

    /// Looks the topics up, all at once, and sets aside the messages of those that aren't there.
    pub(crate) async fn look_up(&mut self, topics: &Arc<Topics>) {
        let (mut unknown, mut last) = (HashSet::new(), None);
        for (_, topic) in &self.items {
            // Mostly they are all the same.
            if last.replace(topic) != Some(topic) && !topics.has(topic) {
                unknown.insert(topic.to_string());
            }
        }
        let mut asking = JoinSet::new();
        for topic in unknown {
            let (topics, by) = (Arc::clone(topics), self.by);
            asking.spawn(async move {
                let answer = topics.look_up(&topic, by).await;
                (topic, answer.err())
            });
        }
        let mut missing = HashMap::new();
        while let Some(answer) = asking.join_next().await {
            let (topic, outcome) =
                answer.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()));
            missing.extend(outcome.map(|outcome| (topic, outcome)));
        }
        if !missing.is_empty() {
            self.set_aside(|_, topic| missing.get(topic).cloned());
        }
    }

    /// What is left to send, each token's by itself.
    pub(crate) fn parts(&mut self, tokens: &[FencingToken]) -> Vec<Part<'a>> {
        let mut parts: HashMap<_, Vec<_>> = HashMap::new();
        for (index, topic) in mem::take(&mut self.items) {
            parts.entry(tokens[index]).or_default().push((index, topic));
        }
        let (batch, by, deadline) = (self.batch, self.by, self.deadline);
        let part = |(token, items)| Part { token, batch, items, by, deadline };
        parts.into_iter().map(part).collect()
    }

    /// Takes out what has an outcome already, and where a prefix is kept also what comes after it.
    pub(crate) fn set_aside(&mut self, mut outcome: impl FnMut(usize, &str) -> Option<Outcome>) {
        let mut held = HashSet::new();
        let (batch, outcomes, keeps_prefix) = (self.batch, &mut *self.outcomes, self.keeps_prefix);
        self.items.retain(|(index, topic)| {
            let key = batch[*index].key().filter(|_| keeps_prefix);
            let own = outcome(*index, topic);
            let follows = key.is_some_and(|key| held.contains(key));
            let Some(outcome) = own.or(follows.then_some(AGAIN)) else { return true };
            outcomes[*index] = outcome;
            held.extend(key);
            false
        });
    }

    pub(crate) fn keeps_prefix(&self) -> bool {
        self.keeps_prefix
    }

    pub(crate) fn is_late(&self) -> bool {
        Instant::now() >= self.by
    }

    pub(crate) fn fill(&mut self, outcome: &Outcome) {
        for (index, _) in &self.items {
            self.outcomes[*index] = outcome.clone();
        }
    }

    pub(crate) fn set(&mut self, index: usize, outcome: Outcome) {
        self.outcomes[index] = outcome;
    }

    /// Hands everything over. What isn't accepted is reported as failed.
    pub(crate) fn send(&self, client: &mut Client) -> Vec<(usize, Code)> {
        let (mut refused, now) = (Vec::new(), SystemTime::now());
        for (index, topic) in &self.items {
            if let Err(code) = client.send(&self.batch[*index], topic, *index, now) {
                refused.push((*index, code));
            }
        }
        refused
    }

    /// What becomes of a message by its report.
    pub(crate) fn judge(&self, report: Report, topics: &Topics) -> Outcome {
        let Some(code) = report.error else { return Outcome::Delivered };
        let alone = outcome::refuses_a_request(code) && self.was_alone(report);
        let outcome = outcome::failed(code, report.calm, alone);
        let topic = self.topic(report.index);
        if code == Code::TopicAuthorizationFailed {
            topics.refuse(topic, &outcome);
        } else if outcome::is_missing_topic(code) || outcome::is_purged(code) {
            topics.forget(topic);
        }
        outcome
    }

    /// Whether another message may be the reason for its failure.
    pub(crate) fn is_unclear(&self, report: Report) -> bool {
        report.error.is_some_and(outcome::refuses_a_request) && !self.was_alone(report)
    }

    /// Sends everything. What was refused together with others is sent again one by one: the
    /// broker has taken none of it.
    pub(crate) async fn run(mut self, mut lent: Lent<'_>, topics: &Topics) {
        let unclear = self.send_and_wait(lent.client(), topics).await;
        if unclear.is_empty() {
            return lent.keep();
        }
        self.items.retain(|(index, _)| unclear.contains(index));
        if self.is_late() {
            return self.blame(&unclear);
        }
        match lent.reconnect(self.by, Requests::OneByOne).await {
            Ok(()) => drop(self.send_and_wait(lent.client(), topics).await),
            Err(error) => self.fill(&outcome::of_error(&error)),
        }
    }

    /// Sends everything, and waits for each report until it is time to stop. Says of which
    /// messages it isn't clear whether they are at fault.
    async fn send_and_wait(&mut self, client: &mut Client, topics: &Topics) -> HashSet<usize> {
        let mut unclear = HashSet::new();
        for (index, code) in self.send(client) {
            self.set(index, outcome::not_accepted(code));
        }
        if timeout_at(self.by.into(), self.hear(client, topics, &mut unclear)).await.is_err() {
            // This makes the reports of the rest, which then only have to get here.
            client.purge(self.deadline).await;
            let deadline = self.deadline.into();
            let _ = timeout_at(deadline, self.hear(client, topics, &mut unclear)).await;
        }
        unclear
    }

    /// Writes outcomes until there is a report for each message.
    async fn hear(&mut self, client: &mut Client, topics: &Topics, unclear: &mut HashSet<usize>) {
        while let Some(report) = client.report().await {
            unclear.extend(self.is_unclear(report).then_some(report.index));
            self.set(report.index, self.judge(report, topics));
        }
    }

    /// Time is up, and it isn't known who of these is at fault. An attempt counts for half of
    /// them; the others come again without those, so that the guilty one is alone in the end.
    pub(crate) fn blame(&mut self, suspects: &HashSet<usize>) {
        let mut left = suspects.len().div_ceil(2);
        self.set_aside(|index, _| {
            let blamed = left > 0 && suspects.contains(&index);
            left -= usize::from(blamed);
            blamed.then(|| Outcome::Failed(SUSPECT.into()))
        });
        self.fill(&AGAIN);
    }

    /// Whether no other message can have been in the same request.
    fn was_alone(&self, report: Report) -> bool {
        let topic = self.topic(report.index);
        report.one_by_one || self.items.iter().filter(|(_, other)| other == topic).count() == 1
    }

    fn topic(&self, index: usize) -> &str {
        let place = self.items.binary_search_by_key(&index, |(index, _)| *index);
        &self.items[place.expect("what is reported was sent")].1
    }
}

/// The messages of a call that are sent under one token.
pub(crate) struct Part<'a> {
    token: FencingToken,
    batch: &'a [Arc<Message>],
    items: Vec<(usize, Cow<'a, str>)>,
    by: Instant,
    deadline: Instant,
}

impl Part<'_> {
    /// Publishes them, and says what became of each.
    pub(crate) async fn run(self, pool: &Pool, topics: &Topics) -> Vec<(usize, Outcome)> {
        let Self { token, batch, items, by, deadline } = self;
        let indices: Vec<_> = items.iter().map(|(index, _)| *index).collect();
        let mut outcomes = vec![Outcome::Unknown; batch.len()];
        let call = Call { batch, outcomes: &mut outcomes, items, keeps_prefix: true, by, deadline };
        publisher::send(call, Some(token), pool, topics).await;
        let outcome = |index| (index, mem::replace(&mut outcomes[index], Outcome::Unknown));
        indices.into_iter().map(outcome).collect()
    }
}

/// For what was not at fault: no attempt counts, and nobody waits.
pub(crate) const AGAIN: Outcome = Outcome::Throttled(Duration::ZERO);

const SUSPECT: &str = "Kafka refuses one of several messages, and there was no time to ask which";

#[cfg(test)]
mod tests {
    use super::*;

    /// With an attempt for each, the innocent would end as dead letters of one guilty message.
    #[test]
    fn half_of_the_suspects_are_blamed() {
        let message = |key: &str| Message::bytes("orders", "").key(key).build().unwrap();
        let batch: Vec<_> = ["a", "b", "c", "d", "b", "e"].map(message).map(Arc::new).into();
        for (keeps_prefix, failed) in [(false, [1, 2]), (true, [1, 2])] {
            let mut outcomes = vec![Outcome::Unknown; batch.len()];
            let mut call = Call::new(&batch, &mut outcomes, Instant::now(), keeps_prefix);
            call.plan(|message| Ok(message.topic().into()));
            call.blame(&HashSet::from([1, 2, 3]));
            for (index, outcome) in outcomes.iter().enumerate() {
                let is_failed = matches!(outcome, Outcome::Failed(_));
                assert_eq!(is_failed, failed.contains(&index), "{index}: {outcome:?}");
                assert!(is_failed || *outcome == AGAIN, "{index}: {outcome:?}");
            }
        }
    }
}
