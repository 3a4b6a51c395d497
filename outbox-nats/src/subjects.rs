//! What is known of subjects.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use outbox_core::Outcome;

use crate::mapping::Outgoing;

/// A message that waits for its turn.
pub(crate) struct Unsent {
    pub(crate) index: usize,
    /// The place of its subject.
    pub(crate) subject: usize,
    pub(crate) message: Outgoing,
}

/// What a call knows of a subject.
#[derive(Default)]
pub(crate) struct Subject {
    pub(crate) name: String,
    pub(crate) pending: usize,
    pub(crate) answered: bool,
    /// It has answered to calls before this.
    pub(crate) is_known: bool,
    /// Messages that nobody answered for.
    pub(crate) homeless: Vec<usize>,
    pub(crate) asked: bool,
    pub(crate) verdict: Option<Outcome>,
}

impl Subject {
    /// Whether one message more may wait for it. A subject that hasn't answered yet may never do so:
    /// it gets a part of the permits, so that the others don't wait for it.
    pub(crate) fn has_room(&self, permits: usize) -> bool {
        let part = if self.is_known { permits / 4 } else { permits / 8 };
        self.answered || self.pending < part.max(1)
    }
}

/// The messages with the places of their subjects.
pub(crate) fn by_subjects(
    answering: &Answering,
    messages: impl IntoIterator<Item = (usize, Outgoing)>,
) -> (VecDeque<Unsent>, Vec<Subject>) {
    let (mut places, mut subjects) = (HashMap::new(), Vec::<Subject>::new());
    let with_place = |(index, message): (usize, Outgoing)| {
        // Mostly there is only one.
        let is_last = subjects.last().is_some_and(|last| last.name == message.subject);
        let last = is_last.then(|| subjects.len() - 1);
        let place = last.or_else(|| places.get(message.subject.as_str()).copied());
        let subject = place.unwrap_or_else(|| {
            let (name, is_known) = (message.subject.clone(), answering.knows(&message.subject));
            places.insert(name.clone(), subjects.len());
            subjects.push(Subject { name, is_known, ..Subject::default() });
            subjects.len() - 1
        });
        Unsent { index, subject, message }
    };
    let unsent = messages.into_iter().map(with_place).collect();
    (unsent, subjects)
}

/// The subjects that have answered over a connection.
#[derive(Default)]
pub(crate) struct Answering(Mutex<HashSet<String>>);

/// More aren't kept in mind.
const MOST: usize = 4096;

impl Answering {
    fn knows(&self, subject: &str) -> bool {
        self.lock().contains(subject)
    }

    pub(crate) fn has_answered(&self, subject: &str) {
        let mut known = self.lock();
        if known.len() >= MOST {
            known.clear();
        }
        if !known.contains(subject) {
            known.insert(subject.to_owned());
        }
    }

    pub(crate) fn is_silent(&self, subject: &str) {
        self.lock().remove(subject);
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<String>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_not_answered_gets_a_part_of_the_permits() {
        let room = |answered, is_known| {
            let subject = |pending| Subject { pending, answered, is_known, ..Subject::default() };
            (0..80).take_while(|pending| subject(*pending).has_room(64)).count()
        };
        assert_eq!((room(false, false), room(false, true), room(true, false)), (8, 16, 80));
        assert!(Subject::default().has_room(1));
    }

    #[test]
    fn who_falls_silent_is_not_known_any_more() {
        let answering = Answering::default();
        answering.has_answered("a");
        assert!(answering.knows("a") && !answering.knows("b"));
        answering.is_silent("a");
        assert!(!answering.knows("a"));
    }

    #[test]
    fn not_every_subject_is_kept_in_mind() {
        let answering = Answering::default();
        for n in 0..3 * MOST {
            answering.has_answered(&n.to_string());
        }
        assert!(answering.knows(&(3 * MOST - 1).to_string()) && answering.lock().len() <= MOST);
    }
}
