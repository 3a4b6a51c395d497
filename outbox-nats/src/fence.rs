//! What a message has to pass: the claims on its partition.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, PoisonError};

use outbox_core::broker::Destinations;
use outbox_core::{Epoch, FencingToken, Outcome};

use crate::mapping::{Outgoing, subject};

/// Claims on a partition, and the epoch that one must be of for a message to pass.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Fence {
    /// What claims are published to, and nothing else.
    pub(crate) subject: String,
    pub(crate) epoch: Epoch,
}

impl Fence {
    /// The outcome is that of a message that has no fence to pass.
    pub(crate) fn of(
        message: &Outgoing,
        topic: &str,
        fences: &Destinations,
        token: FencingToken,
    ) -> Result<Self, Outcome> {
        let Ok(all) = subject(fences, topic) else {
            let says = "the option `fence` gives no subject for the topic: a NATS subject has no \
                        spaces, no empty parts and no wildcards";
            return Err(Outcome::Unavailable(says.into()));
        };
        let below = message.subject.strip_prefix(&all);
        let is_below = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
        if is_below || may_be_claimed_by(&message.subject, fences) {
            return Err(Outcome::Rejected("the subject is one of the option `fence`".into()));
        }
        Ok(Self { subject: format!("{all}.{}", token.partition), epoch: token.epoch })
    }
}

/// Whether claims of any topic are published there: whoever may write a row must not lock out a
/// partition with it, be it of the row's own topic or not.
fn may_be_claimed_by(subject: &str, fences: &Destinations) -> bool {
    subject.rsplit_once('.').is_some_and(|(all, partition)| {
        partition.bytes().all(|byte| byte.is_ascii_digit()) && fences.lead_to(all)
    })
}

/// A claim that stands in a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) epoch: Epoch,
    /// Its number in the stream.
    pub(crate) sequence: u64,
}

/// What is known of one subject of claims.
#[derive(Default)]
pub(crate) struct Gate {
    /// The last one. Held while it is asked for or made, so that one call does it for all.
    pub(crate) last: tokio::sync::Mutex<Option<Claim>>,
    /// Whether the stream takes one message after the other, as one with replicas does.
    pub(crate) is_narrow: AtomicBool,
}

/// What is known over a connection.
#[derive(Default)]
pub(crate) struct Gates(Mutex<HashMap<String, Arc<Gate>>>);

/// More aren't kept in mind.
const MOST: usize = 4096;

impl Gates {
    pub(crate) fn of(&self, fence: &Fence) -> Arc<Gate> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST && !known.contains_key(&fence.subject) {
            known.clear();
        }
        known.entry(fence.subject.clone()).or_default().clone()
    }
}

#[cfg(test)]
mod tests {
    use outbox_core::{Message, Partition};

    use super::*;

    fn fence(topic: &str, fences: &str) -> Result<Fence, Outcome> {
        by(&fences.parse().unwrap(), topic)
    }

    fn by(fences: &Destinations, topic: &str) -> Result<Fence, Outcome> {
        let message = Message::bytes(topic, "").build().unwrap();
        let message = Outgoing::of(&message, &Destinations::identity()).unwrap();
        let token = FencingToken { partition: Partition(7), epoch: Epoch(3) };
        Fence::of(&message, topic, fences, token)
    }

    #[test]
    fn each_partition_has_a_subject() {
        for (fences, subject) in [("{topic}.fence", "orders.fence.7"), ("fence", "fence.7")] {
            let expected = Fence { subject: subject.to_owned(), epoch: Epoch(3) };
            assert_eq!(fence("orders", fences), Ok(expected));
        }
    }

    #[test]
    fn no_message_goes_where_claims_are() {
        for (topic, fences) in [
            ("fence", "fence"),
            ("fence.7", "fence"),
            ("fence.a.b", "fence"),
            // Those of the topic `orders`.
            ("fence.orders.3", "fence.{topic}"),
            ("orders.fence.3", "{topic}.fence"),
            ("orders.3", "{topic}"),
            ("a.a.3", "{topic}.{topic}"),
        ] {
            let rejected = fence(topic, fences);
            assert!(matches!(rejected, Err(Outcome::Rejected(_))), "{topic}: {rejected:?}");
        }
        for (topic, fences) in [
            ("fences.7", "fence"),
            ("fence.orders", "fence.{topic}"),
            ("fence.7", "fence.{topic}"),
            ("orders.fence.eu", "{topic}.fence"),
            ("orders.3.fence", "{topic}.fence"),
            ("a.b.3", "{topic}.{topic}"),
        ] {
            assert!(fence(topic, fences).is_ok(), "{topic}");
        }
    }

    #[test]
    fn no_message_goes_where_claims_by_a_table_are() {
        let table = |topic: &str| {
            let names = [("orders", "one"), (topic, "two")];
            Destinations::table(names.map(|(topic, name)| (topic.to_owned(), name.to_owned())))
        };
        let rejected = by(&table("one.3"), "one.3");
        assert!(matches!(rejected, Err(Outcome::Rejected(_))), "{rejected:?}");
        assert!(by(&table("three.3"), "three.3").is_ok());
    }

    #[test]
    fn without_a_subject_for_claims_nothing_is_sent() {
        for fences in ["a b", "{topic}..fence", "$JS.fence"] {
            let waits = fence("orders", fences);
            assert!(matches!(waits, Err(Outcome::Unavailable(_))), "{fences}: {waits:?}");
        }
    }

    #[test]
    fn not_every_gate_is_kept_in_mind() {
        let gates = Gates::default();
        for n in 0..2 * MOST {
            gates.of(&Fence { subject: n.to_string(), epoch: Epoch(1) });
        }
        assert!(gates.0.lock().unwrap().len() <= MOST);
    }
}
