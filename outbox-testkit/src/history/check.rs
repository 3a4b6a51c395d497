//! Loss, ghosts, duplicates and messages left behind; the order has a file of its own.

use std::collections::HashMap;

use uuid::Uuid;

use super::{Bounds, Fate, Ghost, History, Report, Violation, order};

/// Where and how often a message arrived.
#[derive(Debug, Clone, Copy)]
pub(super) struct Arrival {
    pub(super) first: usize,
    pub(super) count: u64,
}

pub(super) type Arrivals = HashMap<Uuid, Arrival>;

pub(super) fn check(history: &History, bounds: &Bounds) -> Report {
    let mut arrivals = Arrivals::with_capacity(history.accepted.len());
    for (position, id) in history.accepted.iter().enumerate() {
        arrivals.entry(*id).or_insert(Arrival { first: position, count: 0 }).count += 1;
    }
    let mut violations = lost(history, &arrivals);
    violations.extend(ghosts(history, &arrivals));
    violations.extend(order::check(history, &arrivals));
    let duplicates = duplicates(history, &arrivals);
    let found: u64 = duplicates.iter().map(|(_, extra)| extra).sum();
    if found > bounds.duplicates() {
        let allowed = bounds.duplicates();
        violations.push(Violation::Duplicates { found, allowed, messages: duplicates });
    }
    if history.remaining > 0 {
        violations.push(Violation::Stuck { pending: history.remaining });
    }
    let committed =
        history.ledger.iter().filter(|entry| matches!(entry.fate, Fate::Committed(_))).count();
    Report {
        committed: committed as u64,
        delivered: arrivals.len() as u64,
        dead_lettered: history.dead.len() as u64,
        duplicates: found,
        violations,
    }
}

fn lost(history: &History, arrivals: &Arrivals) -> Vec<Violation> {
    let must_arrive = history.ledger.iter().filter(|e| matches!(e.fate, Fate::Committed(_)));
    must_arrive
        .filter(|entry| !arrivals.contains_key(&entry.id) && !history.dead.contains(&entry.id))
        .map(|entry| Violation::Lost { id: entry.id, key: entry.key.clone() })
        .collect()
}

fn ghosts(history: &History, arrivals: &Arrivals) -> Vec<Violation> {
    let kind = |id: Uuid| match history.entry(id).map(|entry| entry.fate) {
        None => Some(Ghost::NeverInserted),
        Some(Fate::RolledBack) => Some(Ghost::NotCommitted),
        Some(Fate::Committed(_) | Fate::Unknown) => None,
    };
    let arrived = history.accepted.iter().enumerate();
    let mut found: Vec<_> = arrived
        .filter(|(position, id)| arrivals[*id].first == *position)
        .filter_map(|(position, id)| Some((*id, Some(position), kind(*id)?)))
        .collect();
    let died = history.dead.iter().filter(|id| !arrivals.contains_key(*id));
    let mut died: Vec<_> = died.filter_map(|id| Some((*id, None, kind(*id)?))).collect();
    died.sort_unstable_by_key(|(id, ..)| *id);
    found.extend(died);
    let violation = |(id, position, kind)| Violation::Ghost { id, position, kind };
    found.into_iter().map(violation).collect()
}

/// Messages that arrived more often than once, and once more for each redrive; by how often.
fn duplicates(history: &History, arrivals: &Arrivals) -> Vec<(Uuid, u64)> {
    let mut duplicates: Vec<_> = arrivals
        .iter()
        .map(|(id, arrival)| {
            let expected = 1 + history.redriven.get(id).copied().unwrap_or(0);
            (*id, arrival.count.saturating_sub(expected))
        })
        .filter(|(_, extra)| *extra > 0)
        .collect();
    duplicates.sort_unstable_by_key(|(id, _)| arrivals[id].first);
    duplicates
}
