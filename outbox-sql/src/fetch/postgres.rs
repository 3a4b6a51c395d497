//! PostgreSQL: one statement, hence one snapshot at every isolation level and behind any pooler.

use super::{BEHIND, COLUMNS, Fetch, GENERATION, META, PARKED, ROW, bounds};
use crate::row::{behind_columns, stored_columns};
use crate::{Dialect, Statement, Value};

pub(super) fn statement(fetch: &Fetch<'_>) -> Statement {
    let stored = stored_columns(Dialect::Postgres);
    let behind = behind_columns(Dialect::Postgres);
    let vacant = fetch.vacant();
    let outbox = &fetch.context.tables.outbox;
    let (partition, parked) = (&fetch.context.tables.partition, &fetch.context.tables.parked);
    // Since when a server runs tells it from every other one.
    let server = Dialect::Postgres.epoch("pg_postmaster_start_time()");
    // `octet_length` of a payload that is stored out of line doesn't read it.
    let text = format!(
        "SELECT {ROW}::bigint, page.* \
         FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[]) \
              AS wanted(number, after, rows, bytes) \
         CROSS JOIN LATERAL ( \
           SELECT {stored} FROM ( \
             SELECT *, sum(octet_length(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) \
                       - octet_length(payload) AS before \
             FROM (SELECT * FROM {outbox} \
                   WHERE partition_no = wanted.number AND seq > wanted.after \
                   ORDER BY seq LIMIT wanted.rows) AS next) AS counted \
           WHERE before < wanted.bytes) AS page \
         UNION ALL \
         SELECT {BEHIND}, late.*, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM ( \
           SELECT look.* FROM unnest($1::bigint[], $2::bigint[]) AS wanted(number, after) \
           CROSS JOIN LATERAL ( \
             SELECT {behind} FROM {outbox} \
             WHERE partition_no = wanted.number AND seq > $5 AND seq <= wanted.after \
             ORDER BY seq LIMIT $6) AS look \
           LIMIT $6) AS late \
         UNION ALL \
         SELECT {GENERATION}, partition_no, generation, \
                NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL \
         FROM {partition} WHERE partition_no = ANY($1::bigint[]) \
         UNION ALL \
         SELECT {PARKED}, partition_no, 0, id, topic, message_key, \
                NULL, NULL, NULL, NULL, NULL, NULL, NULL \
         FROM {parked} WHERE partition_no = ANY($7::bigint[]) \
         UNION ALL \
         SELECT {META}, {vacant}, pg_snapshot_xmin(pg_current_snapshot())::text::bigint, \
                NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, \
                CASE WHEN pg_is_in_recovery() THEN 1 ELSE 0 END, {server}"
    );
    let reads = fetch.reads();
    let ints = |value: &dyn Fn(usize) -> i64| Value::Ints((0..reads.len()).map(value).collect());
    let binds = vec![
        ints(&|i| i64::from(reads[i].partition.0)),
        ints(&|i| reads[i].after.0),
        ints(&|i| bounds(reads[i].limit, reads[i].bytes).0),
        ints(&|i| bounds(reads[i].limit, reads[i].bytes).1),
        Value::Int(fetch.request.horizon.0),
        Value::Int(fetch.look_limit()),
        Value::Ints(fetch.parked()),
    ];
    Statement { text, binds, columns: COLUMNS, cached: true }
}
