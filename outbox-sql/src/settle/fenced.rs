//! Verdicts on PostgreSQL: one statement for each fate, with the fence inside.

use std::sync::Arc;

use outbox_core::{Fate, Verdict, VerdictAnswer};
use uuid::Uuid;

use super::Settle;
use crate::enqueue::COLUMNS;
use crate::failure::{Failure, schema};
use crate::name::Tables;
use crate::row::{Columns, micros};
use crate::{Session, Statement, Type, Value};

pub(super) async fn write<S: Session>(
    settle: &Settle<'_>,
    session: &mut S,
) -> Result<Vec<VerdictAnswer>, Failure> {
    let verdicts = &settle.request.verdicts;
    let mut answers = vec![None; verdicts.len()];
    for fate in [is_retry as fn(&Verdict) -> bool, is_dead, is_parked] {
        let places: Vec<_> = (0..verdicts.len()).filter(|&i| fate(&verdicts[i])).collect();
        if places.is_empty() {
            continue;
        }
        let chosen: Vec<_> = places.iter().map(|&place| &verdicts[place]).collect();
        for row in session.query(&statement(settle, &chosen)).await? {
            let mut row = Columns::new(row);
            let place = usize::try_from(row.int()? - 1).ok().and_then(|n| places.get(n).copied());
            let place = place.ok_or_else(|| schema("an answer to no verdict"))?;
            answers[place] = Some(match row.int()? {
                LOST => VerdictAnswer::EpochLost,
                APPLIED => VerdictAnswer::Applied,
                NOT_PARKED => VerdictAnswer::NotParked,
                _ => VerdictAnswer::Gone,
            });
        }
    }
    let complete: Option<Vec<_>> = answers.into_iter().collect();
    complete.ok_or_else(|| schema("a verdict without an answer"))
}

fn is_retry(verdict: &Verdict) -> bool {
    matches!(verdict.fate, Fate::Retry(_))
}

fn is_dead(verdict: &Verdict) -> bool {
    verdict.fate == Fate::Dead
}

fn is_parked(verdict: &Verdict) -> bool {
    matches!(verdict.fate, Fate::Parked { .. })
}

/// Answers of the statement.
const LOST: i64 = 0;
const APPLIED: i64 = 1;
const GONE: i64 = 2;
const NOT_PARKED: i64 = 3;

/// The lease rows are locked by the same statement, before any row that joins them: a plain
/// `EXISTS` is evaluated before a wait for the row's lock, and lets a stale verdict through after
/// it. Locked, no other relay can take the partition until this has committed.
fn statement(settle: &Settle<'_>, verdicts: &[&Verdict]) -> Statement {
    let (change, unchanged) = match verdicts[0].fate {
        Fate::Retry(_) => (postpone(settle), String::new()),
        Fate::Dead => (bury(settle, "true", "NULL::uuid"), String::new()),
        Fate::Parked { .. } => (park(settle), unparked(settle)),
    };
    let lease = &settle.context.tables.lease;
    let text = format!(
        "WITH verdict AS ( \
           SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::bigint[], \
             $5::bigint[], $6::text[], $7::bigint[], $9::uuid[]) \
           WITH ORDINALITY AS v(number, seq, id, epoch, attempts, error, delay, behind, place)), \
         owned AS MATERIALIZED ( \
           SELECT partition_no, epoch FROM {lease} \
           WHERE partition_no = ANY($1::bigint[]) AND owner = $8 \
           ORDER BY partition_no FOR SHARE), \
         valid AS ( \
           SELECT verdict.* FROM verdict JOIN owned \
           ON owned.partition_no = verdict.number AND owned.epoch = verdict.epoch), \
         {change} \
         SELECT verdict.place, \
           CASE WHEN valid.place IS NULL THEN {LOST} \
             WHEN changed.place IS NOT NULL THEN {APPLIED} {unchanged} ELSE {GONE} END::bigint \
         FROM verdict LEFT JOIN valid ON valid.place = verdict.place \
         LEFT JOIN changed ON changed.place = verdict.place"
    );
    let ints =
        |value: fn(&Verdict) -> i64| Value::Ints(verdicts.iter().map(|v| value(v)).collect());
    let error = |verdict: &&Verdict| Some(Arc::from(verdict.error.as_str()));
    let binds = vec![
        ints(|verdict| i64::from(verdict.row.partition.0)),
        ints(|verdict| verdict.row.seq.0),
        Value::Uuids(verdicts.iter().map(|verdict| verdict.row.id).collect()),
        ints(|verdict| verdict.epoch.0),
        ints(|verdict| i64::from(verdict.attempts).min(i64::from(i32::MAX))),
        Value::Texts(verdicts.iter().map(error).collect()),
        ints(delay),
        Value::Uuid(settle.request.relay.0),
        Value::Uuids(verdicts.iter().map(|verdict| behind(verdict)).collect()),
    ];
    Statement { text, binds, columns: &[Type::Int, Type::Int], cached: true }
}

fn delay(verdict: &Verdict) -> i64 {
    match verdict.fate {
        Fate::Retry(delay) => micros(delay),
        Fate::Dead | Fate::Parked { .. } => 0,
    }
}

fn behind(verdict: &Verdict) -> Uuid {
    match verdict.fate {
        Fate::Parked { behind } => behind,
        Fate::Retry(_) | Fate::Dead => verdict.row.id,
    }
}

fn postpone(settle: &Settle<'_>) -> String {
    let outbox = &settle.context.tables.outbox;
    let retry_at = settle.context.dialect.after("valid.delay");
    format!(
        "changed AS ( \
           UPDATE {outbox} AS pending \
           SET attempts = valid.attempts, last_error = valid.error, retry_at = {retry_at} \
           FROM valid WHERE pending.partition_no = valid.number AND pending.seq = valid.seq \
             AND pending.id = valid.id RETURNING valid.place)"
    )
}

/// Moves valid rows for which `only` holds to the dead letters, there to wait `behind` a message.
fn bury(settle: &Settle<'_>, only: &str, behind: &str) -> String {
    let (outbox, dead) = (&settle.context.tables.outbox, &settle.context.tables.dead);
    format!(
        "changed AS ( \
           DELETE FROM {outbox} AS pending USING valid \
           WHERE pending.partition_no = valid.number AND pending.seq = valid.seq \
             AND pending.id = valid.id AND {only} \
           RETURNING pending.*, valid.place, valid.attempts AS tried, valid.error AS reason, \
             {behind} AS behind), \
         buried AS ( \
           INSERT INTO {dead} (seq, {COLUMNS}, attempts, error, parked_behind) \
           SELECT seq, {COLUMNS}, tried, reason, behind FROM changed ORDER BY partition_no, seq)"
    )
}

/// The parked lanes are locked as leases are, so that a redrive that puts one back waits for what
/// is moved into it, or is seen.
fn park(settle: &Settle<'_>) -> String {
    let parked = &settle.context.tables.parked;
    let only = "(valid.behind = valid.id OR EXISTS ( \
                  SELECT 1 FROM held WHERE held.partition_no = valid.number \
                    AND held.message_key = pending.message_key AND held.id = valid.behind))";
    format!(
        "held AS MATERIALIZED ( \
           SELECT partition_no, message_key, id FROM {parked} \
           WHERE partition_no = ANY($1::bigint[]) AND id = ANY($9::uuid[]) \
           ORDER BY id, partition_no, message_key, topic FOR SHARE), \
         {}, \
         closed AS ( \
           INSERT INTO {parked} (partition_no, message_key, id, topic) \
           SELECT partition_no, message_key, id, topic FROM changed WHERE behind = id \
           ON CONFLICT DO NOTHING)",
        bury(settle, only, "valid.behind")
    )
}

/// What it means that a row wasn't moved: it was before, or its lane isn't parked.
fn unparked(settle: &Settle<'_>) -> String {
    let Tables { outbox, dead, .. } = &settle.context.tables;
    format!(
        "WHEN EXISTS (SELECT 1 FROM {dead} AS letter WHERE letter.id = verdict.id \
           AND letter.partition_no = verdict.number AND letter.seq = verdict.seq \
           AND letter.parked_behind = verdict.behind) THEN {APPLIED} \
         WHEN EXISTS (SELECT 1 FROM {outbox} AS pending WHERE pending.partition_no = verdict.number \
           AND pending.seq = verdict.seq AND pending.id = verdict.id) THEN {NOT_PARKED}"
    )
}
