//! Verdicts on PostgreSQL: one statement for each fate, with the fence inside.

use std::sync::Arc;

use outbox_core::{Fate, Verdict, VerdictAnswer};

use super::Settle;
use crate::failure::{Failure, schema};
use crate::row::{Columns, micros};
use crate::{Session, Statement, Type, Value};

pub(super) async fn write<S: Session>(
    settle: &Settle<'_>,
    session: &mut S,
) -> Result<Vec<VerdictAnswer>, Failure> {
    let verdicts = &settle.request.verdicts;
    let mut answers = vec![None; verdicts.len()];
    for fate in [is_retry as fn(&Verdict) -> bool, is_dead] {
        let places: Vec<_> = (0..verdicts.len()).filter(|&i| fate(&verdicts[i])).collect();
        if places.is_empty() {
            continue;
        }
        let chosen: Vec<_> = places.iter().map(|&place| &verdicts[place]).collect();
        let change = if is_dead(chosen[0]) { bury(settle) } else { postpone(settle) };
        for row in session.query(&statement(settle, &chosen, &change)).await? {
            let mut row = Columns::new(row);
            let place = usize::try_from(row.int()? - 1).ok().and_then(|n| places.get(n).copied());
            let place = place.ok_or_else(|| schema("an answer to no verdict"))?;
            let (owned, changed) = (row.int()? == 1, row.int()? == 1);
            answers[place] = Some(match (owned, changed) {
                (false, _) => VerdictAnswer::EpochLost,
                (true, true) => VerdictAnswer::Applied,
                (true, false) => VerdictAnswer::Gone,
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

/// The lease rows are locked by the same statement, before any row that joins them: a plain
/// `EXISTS` is evaluated before a wait for the row's lock, and lets a stale verdict through after
/// it. Locked, no other relay can take the partition until this has committed.
fn statement(settle: &Settle<'_>, verdicts: &[&Verdict], change: &str) -> Statement {
    let lease = &settle.context.tables.lease;
    let text = format!(
        "WITH verdict AS ( \
           SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::uuid[], $4::bigint[], \
             $5::bigint[], $6::text[], $7::bigint[]) \
           WITH ORDINALITY AS v(number, seq, id, epoch, attempts, error, delay, place)), \
         owned AS MATERIALIZED ( \
           SELECT partition_no, epoch FROM {lease} \
           WHERE partition_no = ANY($1::bigint[]) AND owner = $8 \
           ORDER BY partition_no FOR SHARE), \
         valid AS ( \
           SELECT verdict.* FROM verdict JOIN owned \
           ON owned.partition_no = verdict.number AND owned.epoch = verdict.epoch), \
         {change} \
         SELECT verdict.place, \
           CASE WHEN valid.place IS NULL THEN 0 ELSE 1 END::bigint, \
           CASE WHEN changed.place IS NULL THEN 0 ELSE 1 END::bigint \
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
    ];
    Statement { text, binds, columns: &[Type::Int, Type::Int, Type::Int], cached: true }
}

fn delay(verdict: &Verdict) -> i64 {
    match verdict.fate {
        Fate::Retry(delay) => micros(delay),
        Fate::Dead => 0,
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

fn bury(settle: &Settle<'_>) -> String {
    let (outbox, dead) = (&settle.context.tables.outbox, &settle.context.tables.dead);
    format!(
        "changed AS ( \
           DELETE FROM {outbox} AS pending USING valid \
           WHERE pending.partition_no = valid.number AND pending.seq = valid.seq \
             AND pending.id = valid.id \
           RETURNING pending.*, valid.place, valid.attempts AS tried, valid.error AS reason), \
         buried AS ( \
           INSERT INTO {dead} (partition_no, seq, id, topic, message_key, message_type, \
             content_type, payload, headers, created_at, attempts, error) \
           SELECT partition_no, seq, id, topic, message_key, message_type, \
             content_type, payload, headers, created_at, tried, reason \
           FROM changed ORDER BY partition_no, seq)"
    )
}
