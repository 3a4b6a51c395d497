//! What an operator does.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use outbox_core::{
    AuditEntry, DeadChange, DeadFilter, DeadLetter, Message, Partition, PartitionStats, Stats,
};
use uuid::Uuid;

use super::database::{DeadRow, PartitionTable, Row};
use super::{Database, Sabotage};

/// A parked lane: its partition, its key, and the message that it waits behind.
type Lane = (Partition, Option<Arc<str>>, Uuid);

impl Database {
    /// See [`Admin::stats`](outbox_core::Admin::stats).
    pub fn stats(&self, now: Duration) -> Stats {
        let rows = self.partitions.iter().flat_map(|table| table.rows.values());
        let oldest = rows.map(|row| row.inserted_at).min();
        let partition = |((partition, table), owner): ((_, &PartitionTable), _)| PartitionStats {
            partition,
            depth: table.rows.len() as u64,
            owner,
        };
        let parked = self.dead.iter().filter(|dead| dead.waits()).count();
        Stats {
            depth: self.backlog() as u64,
            oldest_age: oldest.map(|at| now.saturating_sub(at)),
            dead: (self.dead.len() - parked) as u64,
            parked: parked as u64,
            partitions: self.tables().zip(self.leases.live_owners(now)).map(partition).collect(),
            relays: self.leases.live_relays(now).len() as u64,
        }
    }

    /// See [`Admin::dead_letters`](outbox_core::Admin::dead_letters).
    pub fn dead_letters(&self, now: Duration, filter: &DeadFilter, limit: u32) -> Vec<DeadLetter> {
        let matching = self.dead.iter().filter(|dead| dead.matches(now, filter));
        matching.take(limit as usize).map(DeadRow::letter).collect()
    }

    /// See [`Admin::redrive`](outbox_core::Admin::redrive). Parked lanes that can't get all of
    /// their places back stay.
    pub fn redrive(&mut self, now: Duration, change: &DeadChange) -> u64 {
        let chosen = self.choose(now, change, |_| true);
        let lanes = self.lanes(&chosen);
        let goes = |dead: &DeadRow| chosen.contains(&dead.number()) && dead.behind.is_none();
        let in_lane = |dead: &DeadRow| dead.lane().is_some_and(|lane| lanes.contains(&lane));
        let count = self.dead.iter().filter(|dead| goes(dead) || in_lane(dead)).count() as u64;
        if change.dry_run {
            return count;
        }
        let back: Vec<DeadRow> = self.dead.extract_if(.., |dead| goes(dead)).collect();
        for DeadRow { partition, row, .. } in back {
            let seq = self.next_seq();
            self.table_mut(partition).rows.insert(seq, row.renewed(now));
        }
        self.put_lanes_back(now, &lanes);
        self.note(now, "redrive", change, count);
        count
    }

    /// See [`Admin::discard`](outbox_core::Admin::discard).
    pub fn discard(&mut self, now: Duration, change: &DeadChange) -> u64 {
        let chosen = self.choose(now, change, |dead| !dead.waits());
        let count = chosen.len() as u64;
        if change.dry_run {
            return count;
        }
        let lanes = self.lanes(&chosen);
        self.dead.retain(|dead| !chosen.contains(&dead.number()));
        self.put_lanes_back(now, &lanes);
        self.note(now, "discard", change, count);
        count
    }

    /// See [`Admin::purge`](outbox_core::Admin::purge).
    pub fn purge(&mut self, now: Duration, age: Duration, limit: u32) -> u64 {
        let filter = DeadFilter { older_than: Some(age), ..DeadFilter::default() };
        let change = DeadChange { limit, ..DeadChange::new("", filter) };
        let chosen = self.choose(now, &change, |dead| dead.behind.is_none());
        self.dead.retain(|dead| !chosen.contains(&dead.number()));
        chosen.len() as u64
    }

    /// See [`Admin::audit`](outbox_core::Admin::audit).
    pub fn audit(&self, limit: u32) -> Vec<AuditEntry> {
        self.audit.iter().rev().take(limit as usize).cloned().collect()
    }

    fn choose(
        &self,
        now: Duration,
        change: &DeadChange,
        may: impl Fn(&DeadRow) -> bool,
    ) -> HashSet<(Partition, i64, Uuid)> {
        let meant = |dead: &&DeadRow| may(dead) && dead.matches(now, &change.filter);
        self.dead.iter().filter(meant).take(change.limit as usize).map(DeadRow::number).collect()
    }

    fn lanes(&self, chosen: &HashSet<(Partition, i64, Uuid)>) -> HashSet<Lane> {
        let chosen = self.dead.iter().filter(|dead| chosen.contains(&dead.number()));
        let lanes: HashSet<Lane> = chosen.filter_map(DeadRow::lane).collect();
        let occupied = |dead: &&DeadRow| self.table(dead.partition).rows.contains_key(&dead.seq);
        let blocked: HashSet<Lane> =
            self.dead.iter().filter(occupied).filter_map(DeadRow::lane).collect();
        lanes.difference(&blocked).cloned().collect()
    }

    /// Puts what is left of the lanes back in front, which every relay must notice.
    fn put_lanes_back(&mut self, now: Duration, lanes: &HashSet<Lane>) {
        let silent = self.sabotaged(Sabotage::SameGeneration);
        let in_lane = |dead: &mut DeadRow| dead.lane().is_some_and(|lane| lanes.contains(&lane));
        let back: Vec<DeadRow> = self.dead.extract_if(.., in_lane).collect();
        for DeadRow { partition, seq, row, .. } in back {
            self.table_mut(partition).rows.insert(seq, row.renewed(now));
        }
        for (partition, _, _) in lanes {
            self.table_mut(*partition).generation += i64::from(!silent);
        }
    }

    fn note(&mut self, now: Duration, action: &str, change: &DeadChange, messages: u64) {
        if messages > 0 {
            self.audit.push(AuditEntry {
                at: SystemTime::UNIX_EPOCH + now,
                by: change.by.to_string(),
                action: action.to_owned(),
                filter: change.filter.to_string(),
                messages,
            });
        }
    }
}

impl DeadRow {
    /// It didn't die, but waits behind one that did.
    pub(super) fn waits(&self) -> bool {
        self.behind.is_some_and(|behind| behind != self.row.message.id())
    }

    fn number(&self) -> (Partition, i64, Uuid) {
        (self.partition, self.seq.0, self.row.message.id())
    }

    fn lane(&self) -> Option<Lane> {
        Some((self.partition, self.row.message.parts().key.clone(), self.behind?))
    }

    fn matches(&self, now: Duration, filter: &DeadFilter) -> bool {
        let message = &self.row.message;
        let age = now.saturating_sub(self.died_at);
        filter.id.is_none_or(|id| message.id() == id)
            && filter.topic.as_deref().is_none_or(|topic| message.topic() == topic)
            && filter.key.as_deref().is_none_or(|key| message.key() == Some(key))
            && filter.older_than.is_none_or(|least| age > least)
            && filter.error.as_deref().is_none_or(|text| self.error.as_str().contains(text))
    }

    fn letter(&self) -> DeadLetter {
        DeadLetter {
            message: Message::clone(&self.row.message),
            partition: self.partition,
            attempts: self.row.attempts,
            error: self.error.to_string(),
            died_at: SystemTime::UNIX_EPOCH + self.died_at,
            behind: self.behind,
        }
    }
}

impl Row {
    /// As if it had just been inserted.
    fn renewed(self, now: Duration) -> Self {
        Self { inserted_at: now, attempts: 0, retry_at: None, ..self }
    }
}
