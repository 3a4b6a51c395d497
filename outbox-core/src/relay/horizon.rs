//! The horizon: no row at or below it can still become visible.

use std::time::Duration;

use crate::{Seq, TxId, Visibility};

/// Follows which rows can still appear behind a cursor.
///
/// With transaction ids: let M be the largest `seq` in the pages returned so far, and B a
/// transaction id given out after that. Any `seq <= M` was given out before M became visible, to a
/// transaction that had its id already, so that id is below B. Once a snapshot shows that all
/// transactions below B have ended, that snapshot itself shows all that is left of them. So if a
/// fetch with such a snapshot looked behind its cursors from the old horizon, M is the new one.
///
/// By age the same holds with times in place of ids.
#[derive(Debug)]
pub(super) struct Horizon {
    visibility: Visibility,
    at: Seq,
    /// M: the largest `seq` in the pages returned so far.
    seen: Seq,
    candidate: Option<(Seq, Barrier)>,
}

#[derive(Debug, Clone, Copy)]
enum Barrier {
    Tx(TxId),
    Asked(Duration),
}

impl Horizon {
    pub(super) fn new(visibility: Visibility) -> Self {
        let at = match visibility {
            // Rows appear in order, so nothing is ever behind a cursor.
            Visibility::Ordered => Seq(i64::MAX),
            Visibility::Snapshot | Visibility::Within(_) => Seq::START,
        };
        Self { visibility, at, seen: Seq::START, candidate: None }
    }

    pub(super) fn visibility(&self) -> Visibility {
        self.visibility
    }

    pub(super) fn at(&self) -> Seq {
        self.at
    }

    /// M as of now; to be handed back to [`Horizon::tx`] with an id that is asked for now.
    pub(super) fn seen(&self) -> Seq {
        self.seen
    }

    /// A transaction id was given out after `seen` was returned in a page.
    pub(super) fn tx(&mut self, seen: Seq, tx: Option<TxId>) {
        if let Some(tx) = tx
            && self.candidate.is_none()
            && seen > self.at
        {
            self.candidate = Some((seen, Barrier::Tx(tx)));
        }
    }

    /// A fetch, asked for at `asked`, looked behind every cursor from this horizon. Returns whether
    /// the horizon has moved.
    pub(super) fn looked(&mut self, asked: Duration, xmin: Option<TxId>) -> bool {
        let passed = |barrier| match barrier {
            Barrier::Tx(tx) => xmin.is_some_and(|xmin| xmin >= tx),
            Barrier::Asked(time) => asked >= time,
        };
        match self.candidate {
            Some((seq, barrier)) if passed(barrier) => {
                self.at = seq;
                self.candidate = None;
                true
            }
            _ => false,
        }
    }

    /// A page was returned with rows up to `largest`.
    pub(super) fn page(&mut self, largest: Seq, now: Duration) {
        self.seen = self.seen.max(largest);
        if let Visibility::Within(age) = self.visibility
            && self.candidate.is_none()
            && self.seen > self.at
        {
            self.candidate = Some((self.seen, Barrier::Asked(now + age)));
        }
    }
}
