//! SQLite: several small statements in one read transaction, as there is no server to ask.

use outbox_core::{Page, PartitionRead};

use super::{Fetch, bounds, parked_lane};
use crate::failure::Failure;
use crate::row::{BEHIND, Columns, STORED, behind_columns, stored_columns};
use crate::statement::Sql;
use crate::{Dialect, Session, Statement, Type};

pub(super) async fn page<S: Session>(fetch: &Fetch<'_>, session: &mut S) -> Result<Page, Failure> {
    let mut page = Page::default();
    session.run("BEGIN").await?;
    let mut last = 0;
    for row in session.query(&overview(fetch)).await? {
        let mut columns = Columns::new(row);
        page.vacant = columns.int()? == 1;
        last = columns.int()?;
    }
    let reads = &fetch.request.reads;
    for row in session.query(&generations(fetch)).await? {
        let mut columns = Columns::new(row);
        let (partition, generation) = (columns.partition()?, columns.int()?);
        if reads.iter().any(|read| read.partition == partition) {
            page.generations.push((partition, generation));
        }
    }
    let asked = fetch.parked();
    if !asked.is_empty() {
        for row in session.query(&parked(fetch, &asked)).await? {
            page.parked.extend(parked_lane(Columns::new(row).behind()?));
        }
    }
    for read in reads {
        let looked = i64::try_from(page.behind.len()).unwrap_or(i64::MAX);
        let look_limit = fetch.look_limit() - looked;
        if read.after > fetch.request.horizon && look_limit > 0 {
            for row in session.query(&look(fetch, read, look_limit)).await? {
                page.behind.push(Columns::new(row).behind()?);
            }
        }
        // An idle relay asks nothing of partitions that can have nothing new.
        if read.limit > 0 && read.after.0 < last {
            for row in session.query(&next(fetch, read)).await? {
                page.rows.push(Columns::new(row).stored()?);
            }
        }
    }
    session.run("COMMIT").await?;
    Ok(page)
}

fn sql(text: String) -> Sql {
    Sql::new(Dialect::Sqlite, text)
}

/// Whether partitions are vacant, and the last row there is.
fn overview(fetch: &Fetch<'_>) -> Statement {
    let outbox = &fetch.context.tables.outbox;
    let last = format!("(SELECT coalesce(max(seq), 0) FROM {outbox})");
    sql(format!("SELECT {}, {last}", fetch.vacant())).finish(&[Type::Int, Type::Int])
}

fn generations(fetch: &Fetch<'_>) -> Statement {
    let table = &fetch.context.tables.partition;
    sql(format!("SELECT partition_no, generation FROM {table}")).finish(&[Type::Int, Type::Int])
}

fn parked(fetch: &Fetch<'_>, partitions: &[i64]) -> Statement {
    let table = &fetch.context.tables.parked;
    let columns = "partition_no, 0, id, topic, message_key";
    let mut sql = sql(format!("SELECT {columns} FROM {table} WHERE partition_no"));
    sql.one_of(partitions);
    sql.finish(BEHIND)
}

fn look(fetch: &Fetch<'_>, read: &PartitionRead, limit: i64) -> Statement {
    let columns = behind_columns(Dialect::Sqlite);
    let outbox = &fetch.context.tables.outbox;
    let mut sql = sql(format!("SELECT {columns} FROM {outbox} WHERE partition_no = "));
    sql.bind(read.partition.0).push(" AND seq > ").bind(fetch.request.horizon.0);
    sql.push(" AND seq <= ").bind(read.after.0).push(" ORDER BY seq LIMIT ").bind(limit);
    sql.finish(BEHIND)
}

fn next(fetch: &Fetch<'_>, read: &PartitionRead) -> Statement {
    let columns = stored_columns(Dialect::Sqlite);
    let outbox = &fetch.context.tables.outbox;
    let (rows, bytes) = bounds(read.limit, read.bytes);
    let mut sql = sql(format!(
        "SELECT {columns} FROM (SELECT seq AS wanted, \
         sum(size) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) - size AS size_before \
         FROM (SELECT seq, length(payload) AS size FROM {outbox} WHERE partition_no = "
    ));
    sql.bind(read.partition.0).push(" AND seq > ").bind(read.after.0);
    sql.push(" ORDER BY seq LIMIT ").bind(rows);
    sql.push(&format!(")) JOIN {outbox} ON seq = wanted WHERE size_before < ")).bind(bytes);
    sql.finish(STORED)
}
