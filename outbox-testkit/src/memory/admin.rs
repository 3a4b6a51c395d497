//! What an operator does.

use std::time::{Duration, SystemTime};

use outbox_core::{DeadFilter, DeadLetter, Message, PartitionStats, Stats};

use super::database::{DeadRow, Row};
use super::{Database, Sabotage};

impl Database {
    /// See [`Admin::stats`](outbox_core::Admin::stats).
    pub fn stats(&self, now: Duration) -> Stats {
        let rows = self.partitions.iter().flat_map(|table| table.rows.values());
        let oldest = rows.map(|row| row.inserted_at).min();
        let partition =
            |((partition, table), owner): ((_, &super::database::PartitionTable), _)| {
                PartitionStats { partition, depth: table.rows.len() as u64, owner }
            };
        Stats {
            depth: self.backlog() as u64,
            oldest_age: oldest.map(|at| now.saturating_sub(at)),
            dead: self.dead.len() as u64,
            partitions: self.tables().zip(self.leases.live_owners(now)).map(partition).collect(),
            relays: self.leases.live_relays(now).len() as u64,
        }
    }

    /// See [`Admin::dead_letters`](outbox_core::Admin::dead_letters).
    pub fn dead_letters(&self, filter: &DeadFilter, limit: u32) -> Vec<DeadLetter> {
        let matching = self.dead.iter().filter(|dead| dead.matches(filter));
        matching.take(limit as usize).map(DeadRow::letter).collect()
    }

    /// See [`Admin::redrive`](outbox_core::Admin::redrive).
    pub fn redrive(&mut self, now: Duration, filter: &DeadFilter, limit: u32) -> u64 {
        let back = remove(&mut self.dead, limit, |dead| dead.matches(filter));
        let count = back.len() as u64;
        for DeadRow { partition, row, .. } in back {
            let seq = self.next_seq();
            self.table_mut(partition).rows.insert(seq, row.renewed(now));
        }
        count
    }

    /// Puts dead letters back at the places that they had, in front of newer ones, and changes
    /// the generation of their partitions: the redrive of a parked key. Those whose place was
    /// given out again stay dead.
    pub fn redrive_in_place(&mut self, now: Duration, filter: &DeadFilter, limit: u32) -> u64 {
        let silent = self.sabotaged(Sabotage::SameGeneration);
        let tables = &self.partitions;
        let back = remove(&mut self.dead, limit, |dead| {
            let table = &tables[usize::from(dead.partition.0)];
            dead.matches(filter) && !table.rows.contains_key(&dead.seq)
        });
        let count = back.len() as u64;
        for DeadRow { partition, seq, row, .. } in back {
            let table = self.table_mut(partition);
            table.rows.insert(seq, row.renewed(now));
            table.generation += i64::from(!silent);
        }
        count
    }

    /// See [`Admin::discard`](outbox_core::Admin::discard).
    pub fn discard(&mut self, filter: &DeadFilter, limit: u32) -> u64 {
        remove(&mut self.dead, limit, |dead| dead.matches(filter)).len() as u64
    }

    /// See [`Admin::purge`](outbox_core::Admin::purge).
    pub fn purge(&mut self, now: Duration, age: Duration, limit: u32) -> u64 {
        let old = |dead: &DeadRow| now.saturating_sub(dead.died_at) > age;
        remove(&mut self.dead, limit, old).len() as u64
    }
}

/// Takes out the first `limit` that match.
fn remove(dead: &mut Vec<DeadRow>, limit: u32, matches: impl Fn(&DeadRow) -> bool) -> Vec<DeadRow> {
    let mut left = limit;
    let taken = dead.extract_if(.., |dead| {
        let taken = left > 0 && matches(dead);
        left -= u32::from(taken);
        taken
    });
    taken.collect()
}

impl DeadRow {
    fn matches(&self, filter: &DeadFilter) -> bool {
        let message = &self.row.message;
        filter.id.is_none_or(|id| message.id() == id)
            && filter.topic.as_deref().is_none_or(|topic| message.topic() == topic)
            && filter.key.as_deref().is_none_or(|key| message.key() == Some(key))
    }

    fn letter(&self) -> DeadLetter {
        DeadLetter {
            message: Message::clone(&self.row.message),
            partition: self.partition,
            attempts: self.row.attempts,
            error: self.error.to_string(),
            died_at: SystemTime::UNIX_EPOCH + self.died_at,
        }
    }
}

impl Row {
    /// As if it had just been inserted.
    fn renewed(self, now: Duration) -> Self {
        Self { inserted_at: now, attempts: 0, retry_at: None, ..self }
    }
}
