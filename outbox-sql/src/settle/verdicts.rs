//! Verdicts on MySQL and SQLite: the lease rows are locked first, in the same transaction.

use std::collections::{BTreeMap, HashSet};

use outbox_core::{Fate, RowRef, Verdict, VerdictAnswer};

use super::Settle;
use super::delivered::{matches, named};
use crate::enqueue::COLUMNS;
use crate::failure::Failure;
use crate::lease::by_key;
use crate::row::{Columns, micros};
use crate::statement::Sql;
use crate::{Dialect, Session, Statement, Type};

/// How many rows are locked by one statement.
const CHUNK: usize = 128;

pub(super) async fn write<S: Session>(
    settle: &Settle<'_>,
    session: &mut S,
) -> Result<Vec<VerdictAnswer>, Failure> {
    let verdicts = &settle.request.verdicts;
    if verdicts.is_empty() {
        return Ok(Vec::new());
    }
    let epochs = owned(settle, session).await?;
    let is_valid =
        |verdict: &Verdict| epochs.get(&verdict.row.partition.0) == Some(&verdict.epoch.0);
    let valid: Vec<_> =
        verdicts.iter().filter(|verdict| is_valid(verdict)).map(|verdict| verdict.row).collect();
    let mut there = present(settle, session, valid).await?;
    let mut answers = Vec::with_capacity(verdicts.len());
    for verdict in verdicts {
        answers.push(if !is_valid(verdict) {
            VerdictAnswer::EpochLost
        } else if !there.contains(&verdict.row) {
            let done = is_parked(settle, session, verdict).await?;
            if done { VerdictAnswer::Applied } else { VerdictAnswer::Gone }
        } else if !lane_is_parked(settle, session, verdict).await? {
            VerdictAnswer::NotParked
        } else {
            for statement in change(settle, verdict) {
                session.execute(&statement).await?;
            }
            if !matches!(verdict.fate, Fate::Retry(_)) {
                there.remove(&verdict.row);
            }
            VerdictAnswer::Applied
        });
    }
    Ok(answers)
}

/// The epochs under which the relay owns the verdicts' partitions. On MySQL their rows stay locked
/// until the transaction ends, so that nobody can take them meanwhile; SQLite has one writer.
async fn owned<S: Session>(
    settle: &Settle<'_>,
    session: &mut S,
) -> Result<BTreeMap<u16, i64>, Failure> {
    let dialect = settle.context.dialect;
    let numbers: HashSet<_> =
        settle.request.verdicts.iter().map(|v| i64::from(v.row.partition.0)).collect();
    let (column, lease) = (dialect.int("partition_no"), &settle.context.tables.lease);
    let mut sql = Sql::new(
        dialect,
        format!("SELECT {column}, epoch FROM {lease}{} WHERE owner = ", by_key(dialect)),
    );
    sql.bind(settle.request.relay.0).push(" AND partition_no");
    sql.one_of(&numbers.into_iter().collect::<Vec<_>>());
    sql.push(" ORDER BY partition_no").push(dialect.for_share());
    let mut epochs = BTreeMap::new();
    for row in session.query(&sql.finish(&[Type::Int, Type::Int])).await? {
        let mut row = Columns::new(row);
        epochs.insert(row.partition()?.0, row.int()?);
    }
    Ok(epochs)
}

/// Which of `rows` are still there; they are locked, in the order of their primary key.
async fn present<S: Session>(
    settle: &Settle<'_>,
    session: &mut S,
    mut rows: Vec<RowRef>,
) -> Result<HashSet<RowRef>, Failure> {
    rows.sort_unstable_by_key(|row| (row.partition, row.seq));
    let mut there = HashSet::new();
    for chunk in rows.chunks(CHUNK) {
        for row in session.query(&lock_rows(settle, chunk)).await? {
            let mut row = Columns::new(row);
            let (partition, seq) = (row.partition()?, outbox_core::Seq(row.int()?));
            there.insert(RowRef { partition, seq, id: row.uuid()? });
        }
    }
    Ok(there)
}

fn lock_rows(settle: &Settle<'_>, rows: &[RowRef]) -> Statement {
    let (dialect, outbox) = (settle.context.dialect, &settle.context.tables.outbox);
    let mut sql = Sql::new(dialect, "SELECT ");
    sql.push(&dialect.int("partition_no")).push(", seq, id FROM ");
    named(&mut sql, dialect, outbox, rows);
    sql.push(dialect.for_update());
    sql.finish(&[Type::Int, Type::Int, Type::Uuid])
}

fn change(settle: &Settle<'_>, verdict: &Verdict) -> Vec<Statement> {
    match verdict.fate {
        Fate::Retry(delay) => vec![postpone(settle, verdict, micros(delay))],
        Fate::Parked { behind } if behind == verdict.row.id => {
            vec![bury(settle, verdict), close(settle, verdict), remove(settle, verdict)]
        }
        Fate::Dead | Fate::Parked { .. } => vec![bury(settle, verdict), remove(settle, verdict)],
    }
}

fn postpone(settle: &Settle<'_>, verdict: &Verdict, delay: i64) -> Statement {
    let (dialect, outbox) = (settle.context.dialect, &settle.context.tables.outbox);
    let mut sql = Sql::new(dialect, format!("UPDATE {outbox} SET attempts = "));
    sql.bind(attempts(verdict)).push(", last_error = ").bind(verdict.error.as_str());
    sql.push(", retry_at = ");
    let placeholder = sql.placeholder(delay);
    sql.push(&dialect.after(&placeholder)).push(" WHERE ");
    matches(&mut sql, &verdict.row);
    sql.finish(&[])
}

fn bury(settle: &Settle<'_>, verdict: &Verdict) -> Statement {
    let (outbox, dead) = (&settle.context.tables.outbox, &settle.context.tables.dead);
    let same = format!("seq, {COLUMNS}");
    let mut sql = Sql::new(
        settle.context.dialect,
        format!("INSERT INTO {dead} ({same}, attempts, error, parked_behind) SELECT {same}, "),
    );
    sql.bind(attempts(verdict)).push(", ").bind(verdict.error.as_str()).push(", ");
    match verdict.fate {
        Fate::Parked { behind } => sql.bind(behind),
        Fate::Dead | Fate::Retry(_) => sql.push("NULL"),
    };
    sql.push(&format!(" FROM {outbox} WHERE "));
    matches(&mut sql, &verdict.row);
    sql.finish(&[])
}

/// Parks the lane behind the row, which is still there.
fn close(settle: &Settle<'_>, verdict: &Verdict) -> Statement {
    let (dialect, tables) = (settle.context.dialect, &settle.context.tables);
    let same = "partition_no, message_key, id, topic";
    let insert = format!("INSERT INTO {} ({same}) SELECT {same} FROM ", tables.parked);
    let mut sql = Sql::new(dialect, insert);
    sql.push(&tables.outbox).push(" WHERE message_key IS NOT NULL AND ");
    matches(&mut sql, &verdict.row);
    // A message that was enqueued twice may have parked it before.
    sql.push(match dialect {
        Dialect::MySql => " ON DUPLICATE KEY UPDATE topic = VALUES(topic)",
        Dialect::Postgres | Dialect::Sqlite => " ON CONFLICT DO NOTHING",
    });
    sql.finish(&[])
}

/// Whether the lane of a row that is to follow another is parked behind that one. On MySQL it stays
/// so until the transaction ends.
async fn lane_is_parked<S: Session>(
    settle: &Settle<'_>,
    session: &mut S,
    verdict: &Verdict,
) -> Result<bool, Failure> {
    let behind = match verdict.fate {
        Fate::Parked { behind } if behind != verdict.row.id => behind,
        _ => return Ok(true),
    };
    let (dialect, tables) = (settle.context.dialect, &settle.context.tables);
    let select = format!("SELECT lane.id FROM {} AS lane WHERE lane.id = ", tables.parked);
    let mut sql = Sql::new(dialect, select);
    sql.bind(behind).push(" AND lane.partition_no = ").bind(verdict.row.partition.0);
    sql.push(&format!(" AND lane.message_key = (SELECT message_key FROM {} WHERE ", tables.outbox));
    matches(&mut sql, &verdict.row);
    sql.push(")").push(dialect.for_share());
    Ok(!session.query(&sql.finish(&[Type::Uuid])).await?.is_empty())
}

/// Whether a verdict that parks was written before, by a call whose answer was lost.
async fn is_parked<S: Session>(
    settle: &Settle<'_>,
    session: &mut S,
    verdict: &Verdict,
) -> Result<bool, Failure> {
    let Fate::Parked { behind } = verdict.fate else { return Ok(false) };
    let dead = &settle.context.tables.dead;
    let mut sql = Sql::new(settle.context.dialect, format!("SELECT id FROM {dead} WHERE "));
    matches(&mut sql, &verdict.row);
    sql.push(" AND parked_behind = ").bind(behind);
    Ok(!session.query(&sql.finish(&[Type::Uuid])).await?.is_empty())
}

fn remove(settle: &Settle<'_>, verdict: &Verdict) -> Statement {
    let outbox = &settle.context.tables.outbox;
    let mut sql = Sql::new(settle.context.dialect, format!("DELETE FROM {outbox} WHERE "));
    matches(&mut sql, &verdict.row);
    sql.finish(&[])
}

fn attempts(verdict: &Verdict) -> i64 {
    i64::from(verdict.attempts).min(i64::from(i32::MAX))
}
