//! What the checker says.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// The verdict on a run.
#[derive(Debug, Clone, PartialEq, Eq)]
#[must_use = "a report that nobody reads finds nothing"]
pub struct Report {
    /// Messages that were committed.
    pub committed: u64,
    /// Different messages that arrived.
    pub delivered: u64,
    /// Different messages that became dead letters.
    pub dead_lettered: u64,
    /// Arrivals beyond the first, and beyond one for each redrive.
    pub duplicates: u64,
    /// What must not be.
    pub violations: Vec<Violation>,
}

/// Something that must not be. Positions count the broker's acceptances from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Violation {
    /// A committed message neither arrived nor became a dead letter.
    Lost {
        /// The message.
        id: Uuid,
        /// Its key.
        key: Option<Arc<str>>,
    },
    /// A message that was never committed was seen.
    Ghost {
        /// The message.
        id: Uuid,
        /// Where it arrived first; without one it became a dead letter.
        position: Option<usize>,
        /// Where it comes from.
        kind: Ghost,
    },
    /// Of two messages of one lane, the earlier one was committed before the later one was
    /// inserted, but arrived after it.
    Order {
        /// The lane's destination.
        topic: Arc<str>,
        /// The lane's key.
        key: Option<Arc<str>>,
        /// The earlier message and where it arrived first.
        earlier: (Uuid, usize),
        /// The later message and where it arrived first.
        later: (Uuid, usize),
    },
    /// There are more duplicates than faults to explain them.
    Duplicates {
        /// How many there are.
        found: u64,
        /// How many the faults explain.
        allowed: u64,
        /// All of them: each message and how often it arrived too much.
        messages: Vec<(Uuid, u64)>,
    },
    /// Messages were still pending when the time to recover was over.
    Stuck {
        /// How many.
        pending: u64,
    },
}

/// Where a ghost comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ghost {
    /// No writer ever inserted it.
    NeverInserted,
    /// Its transaction was rolled back, or has not ended.
    NotCommitted,
}

impl Report {
    /// Nothing is wrong.
    pub fn passed(&self) -> bool {
        self.violations.is_empty()
    }

    /// # Panics
    /// If something is wrong, with what it is.
    pub fn assert_passed(&self) {
        assert!(self.passed(), "{self}");
    }
}

/// So many violations or duplicates are printed; more would hide them.
const SHOWN: usize = 20;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { committed, delivered, dead_lettered, duplicates, violations } = self;
        write!(f, "{committed} committed, {delivered} delivered, {dead_lettered} dead-lettered, ")?;
        write!(f, "{duplicates} duplicates: {} violations", violations.len())?;
        for violation in violations.iter().take(SHOWN) {
            write!(f, "\n  {violation}")?;
        }
        more(f, "\n  ", violations.len())
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost { id, key } => write!(f, "lost: {id}{}", Of(key.as_deref())),
            Self::Ghost { id, position, kind } => {
                let kind = match kind {
                    Ghost::NeverInserted => "was never inserted",
                    Ghost::NotCommitted => "was not committed",
                };
                match position {
                    Some(position) => write!(f, "ghost: {id} {kind}, arrived at {position}"),
                    None => write!(f, "ghost: {id} {kind}, is a dead letter"),
                }
            }
            Self::Order { topic, key, earlier, later } => write!(
                f,
                "order: {} arrived at {}, after {} at {}, topic {topic:?}{}",
                earlier.0,
                earlier.1,
                later.0,
                later.1,
                Of(key.as_deref())
            ),
            Self::Duplicates { found, allowed, messages } => {
                write!(f, "duplicates: {found}, the faults explain {allowed}:")?;
                for (id, extra) in messages.iter().take(SHOWN) {
                    write!(f, " {id} +{extra}")?;
                }
                more(f, " ", messages.len())
            }
            Self::Stuck { pending } => write!(f, "stuck: {pending} still pending"),
        }
    }
}

fn more(f: &mut fmt::Formatter<'_>, separator: &str, count: usize) -> fmt::Result {
    match count.saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, "{separator}and {more} more"),
    }
}

/// A key, if there is one.
struct Of<'a>(Option<&'a str>);

impl fmt::Display for Of<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |key| write!(f, ", key {key:?}"))
    }
}
