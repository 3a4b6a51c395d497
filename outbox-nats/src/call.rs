//! One call of `publish`.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;

use async_nats::Subscriber;
use async_nats::client::PublishErrorKind;
use async_nats::jetstream::context::{GetStreamByNameError, GetStreamByNameErrorKind};
use futures::StreamExt;
use outbox_core::{Outcome, Reason};
use tokio::sync::{Semaphore, SemaphorePermit, broadcast};

use crate::link::Link;
use crate::mapping::Outgoing;
use crate::outcome::{self, Answer};

/// Sends messages and writes their outcomes as they become known. Whenever it is dropped, nothing
/// of it is sent any more.
pub(crate) struct Call<'a> {
    link: &'a Link,
    permits: &'a Semaphore,
    replies: Subscriber,
    denied: broadcast::Receiver<Arc<str>>,
    /// Answers come to `{inbox}.{index in the batch}`.
    inbox: String,
    unsent: VecDeque<(usize, Outgoing)>,
    /// The message that is just being handed over.
    handing: Option<usize>,
    pending: HashMap<usize, Pending<'a>>,
    /// Messages that nobody answers for, by their subjects.
    homeless: Vec<(usize, String)>,
}

/// A message that waits for its acknowledgement.
struct Pending<'a> {
    subject: String,
    number: u64,
    _permit: SemaphorePermit<'a>,
}

/// The connection was lost.
struct Lost;

impl<'a> Call<'a> {
    /// `None` if the connection is lost.
    pub(crate) async fn new(
        link: &'a Link,
        permits: &'a Semaphore,
        unsent: impl IntoIterator<Item = (usize, Outgoing)>,
    ) -> Option<Self> {
        let inbox = link.client().new_inbox();
        let denied = link.denied();
        let replies = link.client().subscribe(format!("{inbox}.*")).await.ok()?;
        let unsent = unsent.into_iter().collect();
        Some(Self {
            link,
            permits,
            replies,
            denied,
            inbox,
            unsent,
            handing: None,
            pending: HashMap::new(),
            homeless: Vec::new(),
        })
    }

    /// Returns when every message has its outcome, or the connection is lost.
    pub(crate) async fn run(&mut self, outcomes: &mut [Outcome]) {
        while !(self.unsent.is_empty() && self.pending.is_empty()) {
            if self.step(outcomes).await.is_err() {
                return;
            }
        }
        self.settle_homeless(outcomes).await;
    }

    /// What was never handed over, in the end.
    pub(crate) fn unsent(&self) -> impl Iterator<Item = usize> {
        self.handing.into_iter().chain(self.unsent.iter().map(|(index, _)| *index))
    }

    async fn step(&mut self, outcomes: &mut [Outcome]) -> Result<(), Lost> {
        tokio::select! {
            biased;
            reply = self.replies.next() => self.settle(&reply.ok_or(Lost)?, outcomes),
            Ok(subject) = self.denied.recv() => self.refuse(&subject, outcomes),
            permit = self.permits.acquire(), if !self.unsent.is_empty() => {
                self.send(permit.map_err(|_| Lost)?, outcomes).await?;
            }
        }
        Ok(())
    }

    async fn send(
        &mut self,
        permit: SemaphorePermit<'a>,
        outcomes: &mut [Outcome],
    ) -> Result<(), Lost> {
        let Some((index, message)) = self.unsent.pop_front() else { return Ok(()) };
        self.handing = Some(index);
        let subject = message.subject.clone();
        match self.link.hand(message, format!("{}.{index}", self.inbox)).await {
            Ok(number) => {
                self.pending.insert(index, Pending { subject, number, _permit: permit });
            }
            Err(error) => match error.kind() {
                PublishErrorKind::Send => return Err(Lost),
                PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::InvalidSubject => {
                    outcomes[index] = Outcome::Rejected(Reason::of(&error));
                }
            },
        }
        self.handing = None;
        Ok(())
    }

    fn settle(&mut self, reply: &async_nats::Message, outcomes: &mut [Outcome]) {
        let Some(answer) = outcome::of(reply) else { return };
        let index = reply.subject.rsplit_once('.').and_then(|(_, index)| index.parse().ok());
        let Some((index, pending)) = index.and_then(|i| Some((i, self.pending.remove(&i)?))) else {
            return;
        };
        self.link.answered(pending.number);
        outcomes[index] = match answer {
            Answer::Outcome(outcome) => outcome,
            Answer::NoResponders => {
                let says = "no stream answers for the subject, or its leader is being elected";
                self.homeless.push((index, pending.subject));
                Outcome::Unavailable(says.into())
            }
        };
    }

    /// The server drops what we may not publish, and answers to nothing in particular.
    fn refuse(&mut self, subject: &str, outcomes: &mut [Outcome]) {
        for (index, _) in self.pending.extract_if(|_, pending| pending.subject == subject) {
            let says = format!("the account may not publish to the subject `{subject}`");
            outcomes[index] = Outcome::Unavailable(says.into());
        }
    }

    /// During an election, too, nobody answers, and a message must not be rejected for that. Which
    /// streams there are is known all the same.
    async fn settle_homeless(&mut self, outcomes: &mut [Outcome]) {
        let homeless = std::mem::take(&mut self.homeless);
        let subjects: BTreeSet<_> = homeless.iter().map(|(_, subject)| subject).collect();
        for subject in subjects {
            let answer = self.link.jetstream().stream_by_subject(subject.clone()).await;
            let outcome = match answer.as_ref().map_err(GetStreamByNameError::kind) {
                Err(GetStreamByNameErrorKind::NotFound) => Outcome::Rejected(Reason::new(format!(
                    "no stream takes the subject `{subject}`: create one"
                ))),
                Ok(stream) => Outcome::Unavailable(Reason::new(format!(
                    "the stream `{stream}` does not answer: it has no leader just now"
                ))),
                // What is written already says as much as we know.
                Err(_) => continue,
            };
            for (index, _) in homeless.iter().filter(|(_, homeless)| homeless == subject) {
                outcomes[*index] = outcome.clone();
            }
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        if let Some(last) = self.pending.values().map(|pending| pending.number).max() {
            self.link.give_up(last);
        }
    }
}
