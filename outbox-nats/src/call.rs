//! One call of `publish`.

use std::collections::{HashMap, HashSet, VecDeque};
use std::pin::Pin;
use std::time::Duration;

use async_nats::Subscriber;
use async_nats::client::PublishErrorKind;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use outbox_core::{Outcome, Reason};
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::{Instant, Sleep, sleep_until};

use crate::NatsConfig;
use crate::link::{End, Link, api, patience};
use crate::lookup::{Home, look_up};
use crate::mapping::Outgoing;
use crate::outcome::{self, Answer, Bar, Denial};
use crate::subjects::{Subject, Unsent, by_subjects};

/// Sends messages and writes their outcomes as they become known. Whenever it is dropped, nothing
/// of it is sent any more.
pub(crate) struct Call<'a> {
    link: &'a Link,
    config: &'a NatsConfig,
    permits: &'a Semaphore,
    deadline: Instant,
    /// After that long without an answer it is asked whether there is a stream at all.
    patience: Duration,
    heard: Instant,
    /// Ends when nothing may have been heard for that long.
    silence: Pin<Box<Sleep>>,
    replies: Subscriber,
    denials: broadcast::Receiver<Denial>,
    /// Answers come to `{inbox}.{index in the batch}`.
    inbox: String,
    unsent: VecDeque<Unsent>,
    /// The message that is just being handed over.
    handing: Option<usize>,
    pending: HashMap<usize, Pending<'a>>,
    subjects: Vec<Subject>,
    /// Each with the place of its subject.
    lookups: FuturesUnordered<BoxFuture<'a, (usize, Home)>>,
    /// What a fence let not pass.
    barred: Vec<(usize, Bar)>,
    /// The highest number of those that have their outcome by something else than an answer.
    unproved: u64,
}

/// A message that waits for its acknowledgement.
struct Pending<'a> {
    subject: usize,
    number: u64,
    _permit: SemaphorePermit<'a>,
}

impl<'a> Call<'a> {
    /// `None` if the connection is lost.
    pub(crate) async fn new(
        link: &'a Link,
        (config, permits): (&'a NatsConfig, &'a Semaphore),
        deadline: Instant,
        unsent: impl IntoIterator<Item = (usize, Outgoing)>,
    ) -> Option<Self> {
        let inbox = link.client().new_inbox();
        let denials = link.denials();
        let replies = link.client().subscribe(format!("{inbox}.*")).await.ok()?;
        let heard = Instant::now();
        let (unsent, subjects) = by_subjects(link.answering(), unsent);
        let patience = patience(deadline);
        Some(Self {
            link,
            config,
            permits,
            deadline,
            patience,
            heard,
            silence: Box::pin(sleep_until(heard + patience)),
            replies,
            denials,
            inbox,
            unsent,
            handing: None,
            pending: HashMap::new(),
            subjects,
            lookups: FuturesUnordered::new(),
            barred: Vec::new(),
            unproved: 0,
        })
    }

    /// Returns when every message has its outcome, or the connection is lost.
    pub(crate) async fn run(&mut self, outcomes: &mut [Outcome]) -> Result<(), End> {
        while !(self.unsent.is_empty() && self.pending.is_empty() && self.lookups.is_empty()) {
            self.step(outcomes).await?;
        }
        if self.unproved > 0 {
            self.link.round_trip().await.map_err(|_| End::Lost)?;
        }
        Ok(())
    }

    /// What was never handed over, in the end.
    pub(crate) fn unsent(&self) -> impl Iterator<Item = usize> {
        self.handing.into_iter().chain(self.unsent.iter().map(|unsent| unsent.index))
    }

    /// What a fence let not pass, in the end.
    pub(crate) fn barred(&mut self) -> Vec<(usize, Bar)> {
        std::mem::take(&mut self.barred)
    }

    async fn step(&mut self, outcomes: &mut [Outcome]) -> Result<(), End> {
        let next = self.next();
        tokio::select! {
            biased;
            reply = self.replies.next() => {
                self.settle(&reply.ok_or(End::Lost)?, outcomes);
                // Those that came with it, so that what may go next goes together.
                while let Some(Some(reply)) = self.replies.next().now_or_never() {
                    self.settle(&reply, outcomes);
                }
            }
            denial = self.denials.recv() => match denial {
                Ok(denial) => self.refuse(&denial, outcomes),
                // Others follow.
                Err(RecvError::Lagged(_)) => {}
                Err(RecvError::Closed) => return Err(End::Lost),
            },
            Some((subject, home)) = self.lookups.next() => self.judge(subject, &home, outcomes),
            permit = self.permits.acquire(), if next.is_some() => {
                self.send(next.unwrap_or_default(), permit.map_err(|_| End::Lost)?, outcomes).await?;
                while let Some(next) = self.next()
                    && let Ok(permit) = self.permits.try_acquire()
                {
                    self.send(next, permit, outcomes).await?;
                }
            }
            () = &mut self.silence, if !self.pending.is_empty() => self.wonder(),
        }
        Ok(())
    }

    /// The first message that may go.
    fn next(&self) -> Option<usize> {
        let permits = self.config.max_pending;
        if !self.subjects.iter().any(|subject| subject.has_room(permits)) {
            return None;
        }
        let mut passed_over = HashSet::new();
        self.unsent.iter().position(|Unsent { subject, message, .. }| {
            let has_room = self.subjects[*subject].has_room(permits);
            let follows = || message.key().is_some_and(|key| passed_over.contains(key));
            let may_go = has_room && (passed_over.is_empty() || !follows());
            if !may_go {
                passed_over.extend(message.key());
            }
            may_go
        })
    }

    async fn send(
        &mut self,
        at: usize,
        permit: SemaphorePermit<'a>,
        outcomes: &mut [Outcome],
    ) -> Result<(), End> {
        if Instant::now() >= self.deadline {
            return Err(End::Late);
        }
        let Some(Unsent { index, subject, message }) = self.unsent.remove(at) else {
            return Ok(());
        };
        self.handing = Some(index);
        match self.link.hand(message, format!("{}.{index}", self.inbox)).await {
            Ok(number) => {
                self.subjects[subject].pending += 1;
                self.pending.insert(index, Pending { subject, number, _permit: permit });
            }
            Err(error) => match error.kind() {
                PublishErrorKind::Send => return Err(End::Lost),
                PublishErrorKind::MaxPayloadExceeded | PublishErrorKind::InvalidSubject => {
                    outcomes[index] = Outcome::Rejected(Reason::of(&error));
                }
            },
        }
        self.handing = None;
        self.heard = Instant::now();
        Ok(())
    }

    fn settle(&mut self, reply: &async_nats::Message, outcomes: &mut [Outcome]) {
        let Some(answer) = outcome::of(reply) else { return };
        let index = reply.subject.rsplit_once('.').and_then(|(_, index)| index.parse().ok());
        let Some((index, pending)) = index.and_then(|i| Some((i, self.take(i)?))) else { return };
        self.heard = Instant::now();
        self.link.answered(pending.number);
        let subject = &mut self.subjects[pending.subject];
        if !std::mem::replace(&mut subject.answered, true) {
            self.link.answering().has_answered(&subject.name);
        }
        outcomes[index] = match answer {
            Answer::Outcome(outcome) => outcome,
            Answer::Barred(bar, reason) => {
                self.barred.push((index, bar));
                Outcome::Unavailable(reason)
            }
            Answer::NoResponders => {
                subject.homeless.push(index);
                let says = "no stream answers for the subject, or its leader is being elected";
                let verdict = subject.verdict.clone();
                self.ask(pending.subject);
                verdict.unwrap_or_else(|| Outcome::Unavailable(says.into()))
            }
        };
    }

    /// It doesn't wait any more.
    fn take(&mut self, index: usize) -> Option<Pending<'a>> {
        let pending = self.pending.remove(&index)?;
        self.subjects[pending.subject].pending -= 1;
        Some(pending)
    }

    /// Gives messages that wait an outcome, though nothing was said of them in particular.
    fn give_up(&mut self, subject: usize, outcome: &Outcome, outcomes: &mut [Outcome]) {
        for index in self.waiting(subject) {
            outcomes[index] = outcome.clone();
            let number = self.take(index).map(|pending| pending.number);
            self.unproved = self.unproved.max(number.unwrap_or_default());
        }
    }

    fn waiting(&self, subject: usize) -> Vec<usize> {
        let waiting = self.pending.iter().filter(|(_, pending)| pending.subject == subject);
        waiting.map(|(index, _)| *index).collect()
    }

    /// The server drops what we may not publish, and answers to nothing in particular.
    fn refuse(&mut self, denial: &Denial, outcomes: &mut [Outcome]) {
        let Denial::Publish(subject) = denial else { return };
        if subject.starts_with(&api(self.config.domain.as_deref(), "")) {
            // There will be no answer to what JetStream was asked.
            self.lookups.clear();
        }
        let says = format!("the account may not publish to the subject `{subject}`");
        if let Some(place) = self.subjects.iter().position(|known| *known.name == **subject) {
            self.give_up(place, &Outcome::Unavailable(says.into()), outcomes);
        }
    }

    /// Nothing was heard for a while: subjects of which nothing was heard at all may have no
    /// stream, and somebody else who listens but doesn't answer.
    fn wonder(&mut self) {
        let now = Instant::now();
        if now < self.heard + self.patience {
            // It was set by what was heard before.
            return self.silence.as_mut().reset(self.heard + self.patience);
        }
        self.heard = now;
        self.silence.as_mut().reset(now + self.patience);
        for place in 0..self.subjects.len() {
            let subject = &mut self.subjects[place];
            if subject.pending > 0 && !subject.answered {
                subject.is_known = false;
                self.link.answering().is_silent(&subject.name);
                self.ask(place);
            }
        }
    }

    /// Asks for the stream of a subject, once.
    fn ask(&mut self, place: usize) {
        let subject = &mut self.subjects[place];
        if !std::mem::replace(&mut subject.asked, true) {
            let (link, config, name) = (self.link, self.config, subject.name.clone());
            let lookup = async move { (place, look_up(link, config, &name).await) };
            self.lookups.push(Box::pin(lookup));
        }
    }

    fn judge(&mut self, subject: usize, home: &Home, outcomes: &mut [Outcome]) {
        let known = &mut self.subjects[subject];
        let Some(verdict) = home.verdict(&known.name, self.config) else { return };
        known.verdict = Some(verdict.clone());
        for index in &known.homeless {
            outcomes[*index] = verdict.clone();
        }
        if let Outcome::Rejected(_) = verdict {
            self.give_up(subject, &verdict, outcomes);
            self.unsent.retain(|unsent| {
                let stays = unsent.subject != subject;
                if !stays {
                    outcomes[unsent.index] = verdict.clone();
                }
                stays
            });
        } else if let Home::Nowhere = home {
            // If it is elsewhere, an acknowledgement may still come.
            for index in self.waiting(subject) {
                outcomes[index] = verdict.clone();
            }
        }
    }
}

impl Drop for Call<'_> {
    fn drop(&mut self) {
        let numbers = self.pending.values().map(|pending| pending.number);
        self.link.give_up(numbers.max().unwrap_or_default().max(self.unproved));
    }
}
