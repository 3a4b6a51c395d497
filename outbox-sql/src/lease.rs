//! Leases: who owns which partition, and who is alive.

use std::collections::BTreeSet;

use async_trait::async_trait;
use outbox_core::{Epoch, Lease, LeaseReport, LeaseRequest, LiveRelay, Partition, RelayId, TxId};

use crate::failure::Failure;
use crate::row::{Columns, micros};
use crate::slot::{Operation, begin_write};
use crate::statement::Sql;
use crate::store::Context;
use crate::{Dialect, Session, Statement, Type};

/// How many of its own `ttl` a relay's row outlives it, before another relay deletes it.
const FORGET_AFTER: i64 = 10;

/// One call of [`outbox_core::Store::lease`].
#[derive(Debug)]
pub(crate) struct LeaseCall<'a> {
    pub(crate) context: &'a Context,
    pub(crate) request: &'a LeaseRequest,
}

/// What the call does to leases, decided while their rows are locked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Changes {
    give_up: Vec<i64>,
    renew: Vec<i64>,
    take: Vec<i64>,
}

impl Changes {
    fn rows(&self) -> u64 {
        (self.give_up.len() + self.renew.len() + self.take.len()) as u64
    }
}

#[async_trait]
impl Operation for LeaseCall<'_> {
    type Output = LeaseReport;
    const NAME: &'static str = "leasing";

    async fn run<S: Session>(&self, session: &mut S) -> Result<LeaseReport, Failure> {
        begin_write(session, self.context.dialect, self.context.lock_timeout).await?;
        let free = self.lock(session).await?;
        self.tell_liveness(session).await?;
        let mut leases = Vec::new();
        let mut tx = None;
        for row in session.query(&self.all_leases()).await? {
            let mut row = Columns::new(row);
            leases.push(Lease {
                partition: row.partition()?,
                owner: row.relay()?,
                epoch: Epoch(row.int()?),
                live: row.int()? == 1,
            });
            tx = row.optional_int()?.and_then(|id| u64::try_from(id).ok()).map(TxId);
        }
        let changes = decide(&mut leases, self.request, &free);
        let mut changed = 0;
        for statement in self.writes(&changes) {
            changed += session.execute(&statement).await?;
        }
        // A row that became this relay's only now, by a call of its own that it had given up, was
        // not locked, and may have been taken since.
        if changed != changes.rows() {
            return Err(Failure::conflict("a lease changed hands meanwhile"));
        }
        let relays = self.relays(session).await?;
        session.run("COMMIT").await?;
        Ok(LeaseReport { leases, relays, tx })
    }
}

impl LeaseCall<'_> {
    fn sql(&self, text: impl Into<String>) -> Sql {
        Sql::new(self.context.dialect, text)
    }

    /// Locks the rows that this call may change, and returns those that it may take. What is
    /// decided afterwards sees them as they are, by a clock read after the wait.
    ///
    /// It waits for its own rows, in ascending order. A row to take that somebody else has locked
    /// is left for another time: a relay whose connection has died in mid-transaction may hold it
    /// until the server notices, and nobody else's renewal must wait for that.
    async fn lock<S: Session>(&self, session: &mut S) -> Result<BTreeSet<i64>, Failure> {
        let take = self.request.take.iter().map(|partition| i64::from(partition.0));
        // SQLite locks the whole database.
        if self.context.dialect == Dialect::Sqlite {
            return Ok(take.collect());
        }
        let (table, hint) = (&self.context.tables.lease, by_key(self.context.dialect));
        let column = self.context.dialect.int("partition_no");
        let mut own = self.sql(format!("SELECT {column} FROM {table} WHERE owner = "));
        own.bind(self.request.relay.0);
        let mut own = numbers(session, own).await?;
        if !own.is_empty() {
            let own: Vec<_> = own.iter().copied().collect();
            let mut lock =
                self.sql(format!("SELECT {column} FROM {table}{hint} WHERE partition_no"));
            lock.one_of(&own).push(" ORDER BY partition_no FOR UPDATE");
            numbers(session, lock).await?;
        }
        let take: Vec<_> = take.filter(|partition| !own.contains(partition)).collect();
        if take.is_empty() {
            return Ok(own);
        }
        let mut lock = self.sql(format!("SELECT {column} FROM {table}{hint} WHERE partition_no"));
        lock.one_of(&take).push(" ORDER BY partition_no FOR UPDATE SKIP LOCKED");
        own.extend(numbers(session, lock).await?);
        Ok(own)
    }

    async fn tell_liveness<S: Session>(&self, session: &mut S) -> Result<(), Failure> {
        let table = &self.context.tables.relay;
        if self.request.leaving {
            let mut delete = self.sql(format!("DELETE FROM {table} WHERE id = "));
            delete.bind(self.request.relay.0);
            session.execute(&delete.finish(&[])).await?;
            return Ok(());
        }
        let ttl = micros(self.request.ttl);
        let mut upsert =
            self.sql(format!("INSERT INTO {table} (id, sick, ttl, expires_at) VALUES ("));
        upsert.bind(self.request.relay.0).push(", ").bind(i64::from(self.request.sick));
        upsert.push(", ").bind(ttl).push(", ");
        let placeholder = upsert.placeholder(ttl);
        upsert.push(&self.context.dialect.after(&placeholder));
        upsert.push(match self.context.dialect {
            Dialect::MySql => {
                ") ON DUPLICATE KEY UPDATE sick = VALUES(sick), ttl = VALUES(ttl), \
                 expires_at = VALUES(expires_at)"
            }
            Dialect::Postgres | Dialect::Sqlite => {
                ") ON CONFLICT (id) DO UPDATE SET sick = excluded.sick, ttl = excluded.ttl, \
                 expires_at = excluded.expires_at"
            }
        });
        session.execute(&upsert.finish(&[])).await?;
        Ok(())
    }

    fn all_leases(&self) -> Statement {
        let dialect = self.context.dialect;
        let tx = match dialect {
            Dialect::Postgres => "pg_current_xact_id()::text::bigint",
            Dialect::MySql | Dialect::Sqlite => "NULL",
        };
        let sql = self.sql(format!(
            "SELECT {}, owner, epoch, {}, {tx} FROM {} ORDER BY partition_no",
            dialect.int("partition_no"),
            dialect.int(&dialect.is_live()),
            self.context.tables.lease,
        ));
        sql.finish(&[Type::Int, Type::Uuid, Type::Int, Type::Int, Type::Int])
    }

    fn writes(&self, changes: &Changes) -> Vec<Statement> {
        let (dialect, table) = (self.context.dialect, &self.context.tables.lease);
        let ttl = micros(self.request.ttl);
        let mut statements = Vec::new();
        let mut write = |partitions: &[i64], is_own: bool, set: &dyn Fn(&mut Sql)| {
            if !partitions.is_empty() {
                let mut sql = self.sql(format!("UPDATE {table} SET "));
                set(&mut sql);
                sql.push(" WHERE partition_no").one_of(partitions);
                if is_own {
                    sql.push(" AND owner = ").bind(self.request.relay.0);
                }
                statements.push(sql.finish(&[]));
            }
        };
        let run = |sql: &mut Sql| {
            sql.push("ttl = ").bind(ttl).push(", expires_at = ");
            let placeholder = sql.placeholder(ttl);
            sql.push(&dialect.after(&placeholder));
        };
        write(&changes.give_up, true, &|sql| {
            sql.push("owner = NULL, expires_at = NULL");
        });
        write(&changes.renew, true, &run);
        write(&changes.take, false, &|sql| {
            sql.push("epoch = epoch + 1, owner = ").bind(self.request.relay.0).push(", ");
            run(sql);
        });
        statements
    }

    /// The live relays; rows of those that died long ago are deleted.
    async fn relays<S: Session>(&self, session: &mut S) -> Result<Vec<LiveRelay>, Failure> {
        let (dialect, table) = (self.context.dialect, &self.context.tables.relay);
        let long_dead = format!("{} < -{FORGET_AFTER} * ttl", dialect.until("expires_at"));
        let all = self.sql(format!(
            "SELECT id, {}, {}, {} FROM {table} ORDER BY id",
            dialect.int("sick"),
            dialect.int(&dialect.is_live()),
            dialect.int(&format!("CASE WHEN {long_dead} THEN 1 ELSE 0 END")),
        ));
        let mut relays = Vec::new();
        for row in
            session.query(&all.finish(&[Type::Uuid, Type::Int, Type::Int, Type::Int])).await?
        {
            let mut row = Columns::new(row);
            let (id, sick) = (row.uuid()?, row.int()? == 1);
            let (is_live, is_long_dead) = (row.int()? == 1, row.int()? == 1);
            if is_live {
                relays.push(LiveRelay { id: RelayId(id), sick });
            } else if is_long_dead {
                // By key, one at a time: a range delete would lock rows of living relays.
                let mut forget = self.sql(format!("DELETE FROM {table} WHERE id = "));
                forget.bind(id).push(" AND ").push(&long_dead);
                session.execute(&forget.finish(&[])).await?;
            }
        }
        Ok(relays)
    }
}

/// MySQL would rather read a table of few rows whole, and lock every row of it.
pub(crate) fn by_key(dialect: Dialect) -> &'static str {
    if dialect == Dialect::MySql { " FORCE INDEX (PRIMARY)" } else { "" }
}

async fn numbers<S: Session>(session: &mut S, sql: Sql) -> Result<BTreeSet<i64>, Failure> {
    let rows = session.query(&sql.finish(&[Type::Int])).await?;
    rows.into_iter().map(|row| Columns::new(row).int()).collect()
}

/// Applies the request to `leases` and says which rows change; those that may be taken are `free`.
fn decide(leases: &mut [Lease], request: &LeaseRequest, free: &BTreeSet<i64>) -> Changes {
    let mut changes = Changes::default();
    for lease in leases {
        let number = i64::from(lease.partition.0);
        if lease.owner == Some(request.relay) {
            if request.leaving || request.release.contains(&(lease.partition, lease.epoch)) {
                changes.give_up.push(number);
                (lease.owner, lease.live) = (None, false);
            } else {
                changes.renew.push(number);
                lease.live = true;
            }
        }
        if takes(lease, request) && free.contains(&number) {
            changes.take.push(number);
            (lease.owner, lease.live) = (Some(request.relay), true);
            lease.epoch = Epoch(lease.epoch.0 + 1);
        }
    }
    changes
}

fn takes(lease: &Lease, request: &LeaseRequest) -> bool {
    let wanted = |partition: Partition| request.take.contains(&partition);
    !lease.live && !request.leaving && wanted(lease.partition)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn relay(number: u128) -> RelayId {
        RelayId(uuid::Uuid::from_u128(number))
    }

    fn lease(partition: u16, owner: Option<u128>, epoch: i64, live: bool) -> Lease {
        let owner = owner.map(relay);
        Lease { partition: Partition(partition), owner, epoch: Epoch(epoch), live }
    }

    fn all() -> BTreeSet<i64> {
        (0..5).collect()
    }

    fn request() -> LeaseRequest {
        LeaseRequest {
            relay: relay(1),
            ttl: Duration::from_secs(1),
            take: vec![],
            release: vec![],
            sick: false,
            leaving: false,
        }
    }

    #[test]
    fn own_leases_run_on_under_their_epoch_and_only_dead_ones_are_taken() {
        let mut leases = [
            lease(0, Some(1), 3, true),
            lease(1, Some(1), 4, false),
            lease(2, Some(2), 5, true),
            lease(3, Some(2), 6, false),
            lease(4, None, 0, false),
        ];
        let request = LeaseRequest { take: (0..5).map(Partition).collect(), ..request() };
        let changes = decide(&mut leases, &request, &all());
        assert_eq!(changes, Changes { give_up: vec![], renew: vec![0, 1], take: vec![3, 4] });
        assert_eq!(leases.map(|lease| lease.epoch.0), [3, 4, 5, 7, 1]);
        assert_eq!(leases[2].owner, Some(relay(2)));
    }

    #[test]
    fn what_somebody_else_has_locked_is_not_taken() {
        let mut leases = [lease(0, None, 0, false), lease(1, None, 0, false)];
        let request = LeaseRequest { take: vec![Partition(0), Partition(1)], ..request() };
        let changes = decide(&mut leases, &request, &[1].into());
        assert_eq!(changes, Changes { give_up: vec![], renew: vec![], take: vec![1] });
        assert_eq!(leases[0], lease(0, None, 0, false));
    }

    #[test]
    fn a_release_needs_its_epoch() {
        let mut leases = [lease(0, Some(1), 3, true), lease(1, Some(1), 4, true)];
        let release = vec![(Partition(0), Epoch(3)), (Partition(1), Epoch(3))];
        let changes = decide(&mut leases, &LeaseRequest { release, ..request() }, &all());
        assert_eq!(changes, Changes { give_up: vec![0], renew: vec![1], take: vec![] });
        assert_eq!(leases[0], lease(0, None, 3, false));
    }

    #[test]
    fn who_leaves_gives_everything_up_and_takes_nothing() {
        let mut leases = [lease(0, Some(1), 3, true), lease(1, None, 4, false)];
        let take = vec![Partition(1)];
        let request = LeaseRequest { take, leaving: true, ..request() };
        let changes = decide(&mut leases, &request, &all());
        assert_eq!(changes, Changes { give_up: vec![0], renew: vec![], take: vec![] });
    }
}
