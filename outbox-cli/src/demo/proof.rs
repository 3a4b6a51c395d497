//! Compares what was committed with what was published.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use uuid::Uuid;

use super::ledger::Entry;
use super::service::Done;
use super::verdict::{Line, Verdict};

/// All that is known after a run.
pub(super) struct Proof {
    /// What the database committed, in its order.
    pub(super) ledger: Vec<Entry>,
    /// What the file holds, in its order.
    pub(super) published: Vec<Entry>,
    /// What the service did, as it knows itself.
    pub(super) done: Done,
    /// What the outbox still holds.
    pub(super) pending: u64,
    /// The relay ended as it should.
    pub(super) clean: bool,
    /// From commit to publish, the median.
    pub(super) latency: Option<Duration>,
    /// The whole run.
    pub(super) took: Duration,
}

impl Proof {
    pub(super) fn judge(&self) -> Verdict {
        let published: HashSet<Uuid> = self.published.iter().map(|entry| entry.id).collect();
        let committed: HashSet<Uuid> = self.ledger.iter().map(|entry| entry.id).collect();
        let lost = committed.difference(&published).count();
        let ghosts = published.difference(&committed).count();
        let rolled_back = &self.done.rolled_back;
        let seen = rolled_back.iter().filter(|id| published.contains(*id)).count();
        let duplicates = self.published.len() - published.len();
        let (keys, disordered) = self.order();
        let seconds = self.took.as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "a rate for people")]
        let rate = published.len() as f64 / seconds;
        Verdict(vec![
            Line::fact("transactions committed", &self.done.orders),
            Line::claim(
                "events committed = published",
                &format!("{} = {}", committed.len(), committed.len() - lost),
                lost == 0 && self.done.committed_at.len() == committed.len(),
            ),
            Line::claim(
                "rolled-back events published",
                &format!("{seen} of {}", rolled_back.len()),
                seen == 0,
            ),
            Line::claim("published, never committed", &ghosts, ghosts == 0),
            Line::claim(
                "customers out of order",
                &format!("{disordered} of {keys}"),
                disordered == 0,
            ),
            Line::claim("duplicates", &duplicates, duplicates == 0),
            Line::claim("still pending", &self.pending, self.pending == 0),
            Line::claim(
                "relay stopped",
                &if self.clean { "cleanly" } else { "abruptly" },
                self.clean,
            ),
            Line::fact("time", &format!("{seconds:.1} s")),
            Line::fact("rate", &format!("{rate:.0} events/s")),
            Line::fact(
                "commit to publish, median",
                &self.latency.map_or("-".into(), |latency| {
                    format!("{:.1} ms", latency.as_secs_f64() * 1000.0)
                }),
            ),
        ])
    }

    /// How many keys there are, and for how many of them the file's order isn't the ledger's. A
    /// message counts where it stands first.
    fn order(&self) -> (usize, usize) {
        let committed = by_key(&self.ledger);
        let published = by_key(&self.published);
        let wrong = committed.iter().filter(|(key, ids)| published.get(*key) != Some(ids)).count();
        (committed.len(), wrong)
    }
}

fn by_key(entries: &[Entry]) -> HashMap<&str, Vec<Uuid>> {
    let mut seen = HashSet::new();
    let mut keys: HashMap<&str, Vec<Uuid>> = HashMap::new();
    for entry in entries {
        if seen.insert(entry.id) {
            keys.entry(&entry.key).or_default().push(entry.id);
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn entry(id: u128, key: &str) -> Entry {
        Entry { id: Uuid::from_u128(id), key: key.into() }
    }

    /// Three committed messages of two keys and one rolled back, all as they should be.
    fn proof() -> Proof {
        let ledger = vec![entry(1, "a"), entry(2, "b"), entry(3, "a")];
        let committed_at = ledger.iter().map(|entry| (entry.id, Instant::now())).collect();
        Proof {
            published: ledger.clone(),
            ledger,
            done: Done { committed_at, rolled_back: vec![Uuid::from_u128(9)], orders: 3 },
            pending: 0,
            clean: true,
            latency: Some(Duration::from_millis(3)),
            took: Duration::from_secs(1),
        }
    }

    fn broken(change: impl FnOnce(&mut Proof)) -> Vec<String> {
        let mut proof = proof();
        change(&mut proof);
        proof.judge().broken().map(ToOwned::to_owned).collect()
    }

    #[test]
    fn what_is_as_it_should_be_holds() {
        assert!(proof().judge().holds());
        assert!(broken(|proof| proof.published.swap(0, 1)).is_empty(), "keys are independent");
    }

    #[test]
    fn each_broken_promise_is_seen() {
        let lost = broken(|proof| drop(proof.published.remove(1)));
        assert_eq!(lost, ["events committed = published", "customers out of order"]);
        let rolled_back = broken(|proof| proof.published.push(entry(9, "c")));
        assert_eq!(rolled_back, ["rolled-back events published", "published, never committed"]);
        let ghost = broken(|proof| proof.published.push(entry(7, "c")));
        assert_eq!(ghost, ["published, never committed"]);
        let disorder = broken(|proof| proof.published.swap(0, 2));
        assert_eq!(disorder, ["customers out of order"]);
        let twice = broken(|proof| proof.published.push(entry(1, "a")));
        assert_eq!(twice, ["duplicates"]);
        assert_eq!(broken(|proof| proof.pending = 1), ["still pending"]);
        assert_eq!(broken(|proof| proof.clean = false), ["relay stopped"]);
        let unknown_to_database = broken(|proof| {
            proof.done.committed_at.insert(Uuid::from_u128(8), Instant::now());
        });
        assert_eq!(unknown_to_database, ["events committed = published"]);
    }
}
