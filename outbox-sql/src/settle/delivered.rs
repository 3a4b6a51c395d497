//! Removing delivered rows: facts, so there is no fence.

use outbox_core::RowRef;

use super::Settle;
use crate::failure::Failure;
use crate::row::Columns;
use crate::statement::{Sql, padded};
use crate::{Dialect, Session, Statement, Type, Value};

/// How many rows one statement of MySQL or SQLite deletes.
const CHUNK: usize = 512;

/// Deletes the delivered rows; on PostgreSQL it returns the id of the transaction that did it.
pub(super) async fn delete<S: Session>(
    settle: &Settle<'_>,
    session: &mut S,
) -> Result<Option<u64>, Failure> {
    // In the order of the primary key, so that two that delete the same rows don't deadlock.
    let mut rows = settle.request.delivered.clone();
    rows.sort_unstable_by_key(|row| (row.partition, row.seq));
    if settle.context.dialect == Dialect::Postgres {
        return postgres(settle, session, &rows).await.map(Some);
    }
    for chunk in rows.chunks(CHUNK) {
        session.execute(&listed(settle, chunk)).await?;
    }
    Ok(None)
}

/// Pairs of `unnest` are six times faster than `= ANY` on each column. The transaction id is
/// assigned even if nothing is deleted.
async fn postgres<S: Session>(
    settle: &Settle<'_>,
    session: &mut S,
    rows: &[RowRef],
) -> Result<u64, Failure> {
    let outbox = &settle.context.tables.outbox;
    let text = format!(
        "WITH gone AS (DELETE FROM {outbox} AS pending \
         USING unnest($1::bigint[], $2::bigint[], $3::uuid[]) AS delivered(number, seq, id) \
         WHERE pending.partition_no = delivered.number AND pending.seq = delivered.seq \
           AND pending.id = delivered.id) \
         SELECT pg_current_xact_id()::text::bigint"
    );
    let binds = vec![
        Value::Ints(rows.iter().map(|row| i64::from(row.partition.0)).collect()),
        Value::Ints(rows.iter().map(|row| row.seq.0).collect()),
        Value::Uuids(rows.iter().map(|row| row.id).collect()),
    ];
    let statement = Statement { text, binds, columns: &[Type::Int], cached: true };
    let mut id = 0;
    for row in session.query(&statement).await? {
        id = Columns::new(row).count()?;
    }
    Ok(id)
}

/// One statement for each chunk. A list of alternatives is looked up by primary key on SQLite; on
/// MySQL and MariaDB too, but there each row found is then compared with every alternative (114 ms
/// for 512 rows, 166 ms with a row constructor and `IN`), so the list becomes a table (7 ms).
fn listed(settle: &Settle<'_>, rows: &[RowRef]) -> Statement {
    let (dialect, outbox) = (settle.context.dialect, &settle.context.tables.outbox);
    let mut sql = Sql::new(dialect, "DELETE ");
    if dialect == Dialect::MySql {
        sql.push(outbox).push(" ");
    }
    sql.push("FROM ");
    named(&mut sql, dialect, outbox, rows);
    sql.finish(&[])
}

/// Writes what follows `FROM`: the table, cut down to `rows`. MySQL looks for an alias to delete from
/// in the database in use, which may be none, so the table has none.
pub(super) fn named(sql: &mut Sql, dialect: Dialect, outbox: &str, rows: &[RowRef]) {
    if dialect == Dialect::MySql {
        sql.push("JSON_TABLE(").bind(json(rows).as_str());
        sql.push(&format!(
            ", '$[*]' COLUMNS (number SMALLINT PATH '$[0]', place BIGINT PATH '$[1]', \
             name CHAR(32) PATH '$[2]')) AS named \
             STRAIGHT_JOIN {outbox} ON {outbox}.partition_no = named.number \
             AND {outbox}.seq = named.place AND {outbox}.id = UNHEX(named.name)"
        ));
        return;
    }
    sql.push(outbox).push(" WHERE ");
    for (index, row) in padded(rows).enumerate() {
        sql.push(if index == 0 { "(" } else { " OR (" });
        matches(sql, row);
        sql.push(")");
    }
}

fn json(rows: &[RowRef]) -> String {
    let row = |row: &RowRef| (row.partition.0, row.seq.0, row.id.simple().to_string());
    let rows: Vec<_> = rows.iter().map(row).collect();
    serde_json::to_string(&rows).expect("numbers and strings are always JSON")
}

/// Writes the condition that names one row beyond doubt.
pub(super) fn matches(sql: &mut Sql, row: &RowRef) {
    sql.push("partition_no = ").bind(row.partition.0);
    sql.push(" AND seq = ").bind(row.seq.0).push(" AND id = ").bind(row.id);
}
