//! SQLite: several small statements in one read transaction, as there is no server to ask.

use outbox_core::{Page, PartitionRead};

use super::{Fetch, bounds};
use crate::error::Failure;
use crate::row::{BEHIND, Columns, STORED, behind_columns, stored_columns};
use crate::statement::Sql;
use crate::{Dialect, Session, Statement, Type};

pub(super) async fn page<S: Session>(fetch: &Fetch<'_>, session: &mut S) -> Result<Page, Failure> {
    let mut page = Page::default();
    session.run("BEGIN").await?;
    for row in session.query(&vacancy(fetch)).await? {
        page.vacant = Columns::new(row).int()? == 1;
    }
    for read in &fetch.request.reads {
        for row in session.query(&generation(fetch, read)).await? {
            page.generations.push((read.partition, Columns::new(row).int()?));
        }
        let looked = i64::try_from(page.behind.len()).unwrap_or(i64::MAX);
        let look_limit = fetch.look_limit() - looked;
        if read.after > fetch.request.horizon && look_limit > 0 {
            for row in session.query(&look(fetch, read, look_limit)).await? {
                page.behind.push(Columns::new(row).behind()?);
            }
        }
        if read.limit > 0 {
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

fn vacancy(fetch: &Fetch<'_>) -> Statement {
    sql(format!("SELECT {}", fetch.vacant())).finish(&[Type::Int])
}

fn generation(fetch: &Fetch<'_>, read: &PartitionRead) -> Statement {
    let table = &fetch.context.tables.partition;
    let mut sql = sql(format!("SELECT generation FROM {table} WHERE partition_no = "));
    sql.bind(read.partition.0);
    sql.finish(&[Type::Int])
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
