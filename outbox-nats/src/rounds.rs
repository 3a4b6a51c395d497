//! Messages that have a fence to pass.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::future::join_all;
use outbox_core::{Message, Outcome, Reason};
use tokio::time::sleep;

use crate::NatsConfig;
use crate::claim::{PAUSE, claim};
use crate::fence::{Fence, Gate};
use crate::link::Link;
use crate::mapping::Outgoing;
use crate::outcome::Bar;

/// Messages of one call, which go in rounds: what was barred in one goes again in the next, under
/// the claim that stands then. A key has one message in a round, so that none overtakes another
/// that was barred.
pub(crate) struct Rounds<'a> {
    batch: &'a [Arc<Message>],
    config: &'a NatsConfig,
    link: &'a Link,
    /// In the batch's order.
    waiting: Vec<Waiting>,
    /// What is sent, and under which claim.
    sent: HashMap<usize, (Waiting, u64)>,
    /// Whether something was barred in the last round.
    was_barred: bool,
}

struct Waiting {
    index: usize,
    fence: Fence,
    /// `None` once it was sent.
    message: Option<Outgoing>,
    /// The claim under which it was barred by another.
    refused: Option<u64>,
    times: u32,
}

/// A claim under which a message was barred so often doesn't stand.
const TIMES: u32 = 3;

impl<'a> Rounds<'a> {
    pub(crate) fn new(
        batch: &'a [Arc<Message>],
        (link, config): (&'a Link, &'a NatsConfig),
        messages: impl IntoIterator<Item = (usize, Outgoing, Fence)>,
    ) -> Self {
        let waiting = messages.into_iter().map(|(index, message, fence)| Waiting {
            index,
            fence,
            message: Some(message),
            refused: None,
            times: 0,
        });
        let (waiting, sent) = (waiting.collect(), HashMap::new());
        Self { batch, config, link, waiting, sent, was_barred: false }
    }

    /// The messages of the next round, under the claims on their partitions. There is none any
    /// more if it is empty. What can't pass has its outcome.
    pub(crate) async fn next(&mut self, outcomes: &mut [Outcome]) -> Vec<(usize, Outgoing)> {
        if std::mem::take(&mut self.was_barred) {
            sleep(PAUSE).await;
        }
        let mut round = Vec::new();
        while round.is_empty() && !self.waiting.is_empty() {
            let chosen = self.choose();
            let claims = self.claim(&chosen).await;
            let is_out = |waiting: &mut Waiting| {
                let claim = claims.get(&waiting.fence);
                chosen.contains(&waiting.index) || claim.is_some_and(Result::is_err)
            };
            let out: Vec<_> = self.waiting.extract_if(.., is_out).collect();
            for waiting in out {
                match &claims[&waiting.fence] {
                    Ok(sequence) => round.extend(self.pass(waiting, *sequence, outcomes)),
                    Err(outcome) => outcomes[waiting.index] = outcome.clone(),
                }
            }
        }
        round
    }

    /// What goes in the next round: of each key the first, and of each fence of a stream that
    /// takes one message after the other.
    fn choose(&self) -> HashSet<usize> {
        let (mut lanes, mut narrow) = (HashSet::new(), HashSet::new());
        let chosen = self.waiting.iter().filter(|waiting| {
            let message = &self.batch[waiting.index];
            let is_first = message.key().is_none_or(|key| lanes.insert((message.topic(), key)));
            is_first && (!self.is_narrow(&waiting.fence) || narrow.insert(&waiting.fence))
        });
        chosen.map(|waiting| waiting.index).collect()
    }

    fn is_narrow(&self, fence: &Fence) -> bool {
        self.gate(fence).is_narrow.load(Ordering::Relaxed)
    }

    fn gate(&self, fence: &Fence) -> Arc<Gate> {
        self.link.gates().of(fence)
    }

    async fn claim(&self, chosen: &HashSet<usize>) -> HashMap<Fence, Result<u64, Outcome>> {
        let mut fences: HashMap<&Fence, Option<u64>> = HashMap::new();
        for waiting in self.waiting.iter().filter(|waiting| chosen.contains(&waiting.index)) {
            let refused = fences.entry(&waiting.fence).or_default();
            *refused = waiting.refused.max(*refused);
        }
        let claims = fences.into_iter().map(async |(fence, refused)| {
            let gate = self.gate(fence);
            (fence.clone(), claim((self.link, self.config), &gate, fence, refused).await)
        });
        join_all(claims).await.into_iter().collect()
    }

    fn pass(
        &mut self,
        mut waiting: Waiting,
        sequence: u64,
        outcomes: &mut [Outcome],
    ) -> Option<(usize, Outgoing)> {
        let index = waiting.index;
        let message = waiting
            .message
            .take()
            .or_else(|| Outgoing::of(&self.batch[index], &self.config.destination).ok());
        let message = message?.expecting(&waiting.fence.subject, sequence);
        outcomes[index] = Outcome::Unknown;
        self.sent.insert(index, (waiting, sequence));
        Some((index, message))
    }

    /// What was barred in this round waits for the next one, or has its outcome.
    pub(crate) fn again(&mut self, barred: Vec<(usize, Bar)>, outcomes: &mut [Outcome]) {
        self.was_barred = !barred.is_empty();
        for (index, bar) in barred {
            let Some((mut waiting, sequence)) = self.sent.remove(&index) else { continue };
            match bar {
                Bar::Busy => self.gate(&waiting.fence).is_narrow.store(true, Ordering::Relaxed),
                Bar::Other => {
                    waiting.refused = Some(sequence);
                    waiting.times += 1;
                }
            }
            if waiting.times < TIMES {
                self.waiting.push(waiting);
                continue;
            }
            let says = format!(
                "the claim by the fence's subject `{}` doesn't stand: it must be of the same \
                 stream as the message's subject, and be kept there",
                waiting.fence.subject
            );
            outcomes[index] = Outcome::Unavailable(says.into());
        }
        self.sent.clear();
        self.waiting.sort_unstable_by_key(|waiting| waiting.index);
    }

    /// Nothing goes any more.
    pub(crate) fn end(self, reason: &Reason, outcomes: &mut [Outcome]) {
        for waiting in self.waiting {
            outcomes[waiting.index] = Outcome::Unavailable(reason.clone());
        }
    }
}
