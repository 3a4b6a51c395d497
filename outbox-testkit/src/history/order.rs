//! The order of each lane, in one sweep.

use std::collections::HashMap;

use uuid::Uuid;

use super::check::Arrivals;
use super::{Entry, Fate, History, Violation};

/// A message of a lane that was committed and arrived.
struct Step<'a> {
    entry: &'a Entry,
    committed: u64,
    first: usize,
}

/// For each lane and each message `b`: the latest first arrival of those that were committed
/// before `b` was inserted must be before `b`'s. Transactions that overlap have no order.
pub(super) fn check(history: &History, arrivals: &Arrivals) -> Vec<Violation> {
    let mut lanes: Vec<Vec<Step<'_>>> = Vec::new();
    let mut index = HashMap::new();
    for entry in &history.ledger {
        let (Some(key), Fate::Committed(committed)) = (&entry.key, entry.fate) else { continue };
        let Some(arrival) = arrivals.get(&entry.id) else { continue };
        if history.left_its_lane(entry.id) {
            continue;
        }
        let lane = *index.entry((&entry.topic, key)).or_insert_with(|| {
            lanes.push(Vec::new());
            lanes.len() - 1
        });
        lanes[lane].push(Step { entry, committed, first: arrival.first });
    }
    lanes.iter_mut().flat_map(|steps| check_lane(steps)).collect()
}

fn check_lane(steps: &mut [Step<'_>]) -> Vec<Violation> {
    let mut commits: Vec<_> =
        steps.iter().map(|step| (step.committed, step.first, step.entry.id)).collect();
    commits.sort_unstable();
    steps.sort_by_key(|step| step.entry.inserted);
    let mut before = commits.into_iter().peekable();
    let mut latest: Option<(usize, Uuid)> = None;
    let mut violations = Vec::new();
    for step in steps {
        while let Some((_, first, id)) =
            before.next_if(|(committed, ..)| *committed < step.entry.inserted)
        {
            latest = latest.max(Some((first, id)));
        }
        if let Some((position, id)) = latest.filter(|(position, _)| *position > step.first) {
            violations.push(Violation::Order {
                topic: step.entry.topic.clone(),
                key: step.entry.key.clone(),
                earlier: (id, position),
                later: (step.entry.id, step.first),
            });
        }
    }
    violations
}
