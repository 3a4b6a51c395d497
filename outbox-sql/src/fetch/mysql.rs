//! MySQL and MariaDB: one statement too, as at READ COMMITTED each has its own snapshot.

use super::{BEHIND, COLUMNS, Fetch, GENERATION, META, PARKED, ROW, bounds};
use crate::open::read_only;
use crate::row::{behind_columns, stored_columns};
use crate::statement::{Sql, padded};
use crate::{Dialect, Statement};

pub(super) fn statement(fetch: &Fetch<'_>) -> Statement {
    let vacant = Dialect::MySql.int(&fetch.vacant());
    // Group replication and replicas are read-only for everybody but their own threads.
    let mut sql = Sql::new(
        Dialect::MySql,
        format!(
            "SELECT {META}, {vacant}, CAST(NULL AS SIGNED), CAST(NULL AS BINARY(16)), NULL, \
             CAST(NULL AS BINARY(512)), NULL, NULL, NULL, NULL, CAST(NULL AS SIGNED), \
             {}, CAST(@@server_id AS SIGNED)",
            read_only!()
        ),
    );
    generations(fetch, &mut sql);
    parked(fetch, &mut sql);
    look(fetch, &mut sql);
    pages(fetch, &mut sql);
    sql.finish(COLUMNS)
}

fn generations(fetch: &Fetch<'_>, sql: &mut Sql) {
    let numbers: Vec<_> = fetch.reads().iter().map(|read| i64::from(read.partition.0)).collect();
    if numbers.is_empty() {
        return;
    }
    sql.push(&format!(
        " UNION ALL SELECT {GENERATION}, CAST(partition_no AS SIGNED), generation, \
         NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM {} WHERE partition_no",
        fetch.context.tables.partition
    ));
    sql.one_of(&numbers);
}

fn parked(fetch: &Fetch<'_>, sql: &mut Sql) {
    let numbers = fetch.parked();
    if numbers.is_empty() {
        return;
    }
    sql.push(&format!(
        " UNION ALL SELECT {PARKED}, CAST(partition_no AS SIGNED), CAST(0 AS SIGNED), id, topic, \
         message_key, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM {} WHERE partition_no",
        fetch.context.tables.parked
    ));
    sql.one_of(&numbers);
}

/// All looks as one: a list of ranges of the primary key.
fn look(fetch: &Fetch<'_>, sql: &mut Sql) {
    let horizon = fetch.request.horizon;
    let behind: Vec<_> = fetch.reads().iter().filter(|read| read.after > horizon).collect();
    if behind.is_empty() {
        return;
    }
    let columns = behind_columns(Dialect::MySql);
    sql.push(&format!(
        " UNION ALL (SELECT {BEHIND}, {columns}, NULL, NULL, NULL, NULL, NULL, NULL, NULL FROM {} \
         WHERE ",
        fetch.context.tables.outbox
    ));
    for (index, read) in padded(&behind).enumerate() {
        sql.push(if index == 0 { "(partition_no = " } else { " OR (partition_no = " });
        sql.bind(read.partition.0).push(" AND seq > ").bind(horizon.0);
        sql.push(" AND seq <= ").bind(read.after.0).push(")");
    }
    sql.push(" LIMIT ").bind(fetch.look_limit()).push(")");
}

/// One arm for each partition. The inner selects see only the key and the payload's size, which
/// has a column of its own: measuring the payload itself would read it.
fn pages(fetch: &Fetch<'_>, sql: &mut Sql) {
    let reads: Vec<_> = fetch.reads().iter().filter(|read| read.limit > 0).collect();
    let columns = stored_columns(Dialect::MySql);
    let outbox = &fetch.context.tables.outbox;
    for (index, read) in padded(&reads).enumerate() {
        // What pads the list to a usual length finds nothing.
        let rows = if index < reads.len() { read.limit } else { 0 };
        let (rows, bytes) = bounds(rows, read.bytes);
        let number = read.partition.0;
        sql.push(&format!(
            " UNION ALL (SELECT {ROW}, {columns} FROM (SELECT seq AS wanted FROM ( \
             SELECT seq, SUM(payload_bytes) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) \
             - payload_bytes AS size_before FROM (SELECT seq, payload_bytes FROM {outbox} \
             WHERE partition_no = "
        ));
        sql.bind(number).push(" AND seq > ").bind(read.after.0);
        sql.push(" ORDER BY seq LIMIT ").bind(rows).push(") AS next) AS counted");
        sql.push(" WHERE size_before < ").bind(bytes);
        sql.push(&format!(") AS page STRAIGHT_JOIN {outbox} ON seq = wanted AND partition_no = "));
        sql.bind(number).push(")");
    }
}
