//! What the run proves, or what is broken.

use std::collections::BTreeSet;

use outbox_testkit::history::{Bounds, History, Report, Violation};
use uuid::Uuid;

use super::logs::Told;
use super::place::Ended;
use super::probe::Stale;
use super::relays::WINDOW;
use super::writers::Written;

/// All that is known when a run is over.
#[derive(Debug, Default)]
pub(super) struct Evidence {
    pub(super) written: Vec<Written>,
    /// The transactions that the database has committed.
    pub(super) ledger: BTreeSet<i64>,
    pub(super) arrived: Vec<Uuid>,
    pub(super) dead: Vec<Dead>,
    pub(super) purged: BTreeSet<Uuid>,
    pub(super) redriven: Vec<Uuid>,
    pub(super) pending: u64,
    pub(super) told: Told,
    /// Relays that ended without finishing what they had begun.
    pub(super) kills: u64,
    pub(super) stale: Stale,
    /// Where nothing keeps messages from arriving.
    pub(super) open: String,
    /// What went wrong besides, in words.
    pub(super) wrong: Vec<String>,
}

/// A dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Dead {
    pub(super) id: Uuid,
    pub(super) topic: String,
    pub(super) error: String,
}

#[derive(Debug)]
pub(super) struct Verdict {
    pub(super) report: Report,
    pub(super) bounds: Bounds,
    /// In words; none if all is well.
    pub(super) broken: Vec<String>,
}

/// So many are told of each kind; more would hide the rest.
const SHOWN: usize = 10;

pub(super) fn judge(evidence: &Evidence) -> Verdict {
    let mut history = History::new();
    for written in &evidence.written {
        for entry in written.entries(&evidence.ledger) {
            history.record(entry);
        }
    }
    evidence.arrived.iter().for_each(|id| history.accepted(*id));
    evidence.redriven.iter().for_each(|id| history.redriven(*id));
    let dead = evidence.dead.iter().map(|dead| &dead.id);
    dead.chain(&evidence.purged).for_each(|id| history.dead_lettered(*id));
    history.remaining(evidence.pending);
    let bounds = evidence.bounds();
    let report = history.check(&bounds);
    let mut broken: Vec<_> = report.violations.iter().map(Violation::to_string).collect();
    let more = broken.len().saturating_sub(SHOWN);
    broken.truncate(SHOWN);
    if more > 0 {
        broken.push(format!("and {more} more"));
    }
    broken.extend(evidence.besides());
    Verdict { report, bounds, broken }
}

impl Evidence {
    /// A relay that is killed, loses partitions, or can't settle publishes again what it had on its
    /// way; and what was sent without an answer may have arrived.
    fn bounds(&self) -> Bounds {
        Bounds {
            window: WINDOW,
            disturbances: self.kills + self.told.lost + self.told.unsettled,
            unknown: self.told.unconfirmed,
        }
    }

    /// What the history doesn't know of.
    fn besides(&self) -> Vec<String> {
        let mut broken = Vec::new();
        let mut of = |ended, in_ledger, what: &str| {
            let strange = self.written.iter().filter(|written| {
                written.ended == ended && self.ledger.contains(&written.number) == in_ledger
            });
            match strange.count() {
                0 => {}
                count => broken.push(format!("{count} transactions that were {what}")),
            }
        };
        of(Ended::Committed, false, "committed have gone: the database has lost them");
        of(Ended::RolledBack, true, "rolled back are there");
        let buried: Vec<_> = self.dead.iter().filter(|dead| dead.topic == self.open).collect();
        if let Some(Dead { id, error, .. }) = buried.first() {
            let count = buried.len();
            let what = "messages that nobody refused are dead letters";
            broken.push(format!("{count} {what}: {id}: {error}"));
        }
        if self.stale.applied > 0 {
            broken.push(format!("{} stale verdicts were written", self.stale.applied));
        }
        if self.told.panics > 0 {
            broken.push(format!("the relays panicked {} times", self.told.panics));
        }
        broken.extend(self.wrong.iter().cloned());
        broken
    }
}

#[cfg(test)]
mod tests;
