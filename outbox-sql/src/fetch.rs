//! Reading the next rows and looking behind the cursors, in one snapshot.

mod mysql;
mod postgres;
mod server;
mod sqlite;

use async_trait::async_trait;
use outbox_core::{FetchRequest, Page, ParkedLane, PartitionRead, RowBehind, TxId};

use crate::durable::make_durable;
use crate::failure::{Failure, schema, standby};
use crate::row::{Columns, STORED, join};
use crate::slot::Operation;
use crate::store::Context;
use crate::{Dialect, Row, Session, Type};
pub(crate) use server::Server;

/// One call of [`outbox_core::Store::fetch`].
#[derive(Debug)]
pub(crate) struct Fetch<'a> {
    pub(crate) context: &'a Context,
    pub(crate) request: &'a FetchRequest,
}

#[async_trait]
impl Operation for Fetch<'_> {
    type Output = Answer;
    const NAME: &'static str = "fetching";

    async fn run<S: Session>(&self, session: &mut S) -> Result<Answer, Failure> {
        let mut answer = match self.context.dialect {
            Dialect::Postgres => read(session.query(&postgres::statement(self)).await?)?,
            Dialect::MySql => read(session.query(&mysql::statement(self)).await?)?,
            Dialect::Sqlite => {
                Answer { page: sqlite::page(self, session).await?, ..Answer::default() }
            }
        };
        if !answer.page.rows.is_empty() {
            make_durable(self.context, session).await?;
        }
        let page = &mut answer.page;
        // No statement that joins or unites promises an order.
        page.rows.sort_unstable_by_key(|row| (row.partition, row.seq));
        page.behind.sort_unstable_by_key(|row| (row.partition, row.seq));
        page.generations.sort_unstable();
        let limit = usize::try_from(self.request.look_limit).unwrap_or(usize::MAX);
        page.look_truncated = page.behind.len() > limit;
        page.behind.truncate(limit);
        Ok(answer)
    }
}

/// What comes back.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) page: Page,
    /// Which server answered, if there may be several: behind a pooler or a proxy a fail-over
    /// breaks no connection.
    pub(crate) server: Option<i64>,
}

/// What a row of the answer is about; its first column.
const META: i64 = 0;
const ROW: i64 = 1;
const BEHIND: i64 = 2;
const GENERATION: i64 = 3;
const PARKED: i64 = 4;

/// A row of the answer: its kind, then the columns of a stored row. Kinds with fewer columns leave
/// the rest null:
/// - [`META`]: whether a partition is vacant, the snapshot's xmin, as attempts, whether the server
///   refuses writes, and last which server it is;
/// - [`GENERATION`]: the partition and, as seq, its generation;
/// - [`PARKED`]: the partition, and the id, topic and key of the message that a lane waits behind.
const COLUMNS: &[Type] = &join::<13>(&[&[Type::Int], STORED]);

/// Reads the one answer of PostgreSQL and MySQL.
fn read(rows: Vec<Row>) -> Result<Answer, Failure> {
    let mut page = Page { rows: Vec::with_capacity(rows.len()), ..Page::default() };
    let mut server = None;
    let mut answered = false;
    for row in rows {
        let mut row = Columns::new(row);
        match row.int()? {
            ROW => page.rows.push(row.stored()?),
            BEHIND => page.behind.push(row.behind()?),
            PARKED => page.parked.extend(parked_lane(row.behind()?)),
            GENERATION => page.generations.push((row.partition()?, row.int()?)),
            META => {
                answered = true;
                server = read_meta(&mut page, &mut row)?;
            }
            kind => return Err(schema(format!("an answer of unknown kind {kind}"))),
        }
    }
    if !answered {
        return Err(schema("the answer to a fetch is incomplete"));
    }
    Ok(Answer { page, server })
}

/// A lane without a readable key isn't parked.
fn parked_lane(row: RowBehind) -> Option<ParkedLane> {
    let RowBehind { partition, id, topic, key, .. } = row;
    Some(ParkedLane { partition, key: key?, behind: id, topic })
}

fn read_meta(page: &mut Page, row: &mut Columns) -> Result<Option<i64>, Failure> {
    page.vacant = row.int()? == 1;
    let xmin = row.optional_int()?.and_then(|id| u64::try_from(id).ok());
    page.xmin = xmin.map(TxId);
    if row.skip(8).optional_int()? == Some(1) {
        return Err(standby());
    }
    row.optional_int()
}

impl Fetch<'_> {
    /// `SELECT` items of a vacancy: 1 if a partition has no live owner.
    fn vacant(&self) -> String {
        let live = self.context.dialect.is_live();
        let lease = &self.context.tables.lease;
        format!(
            "CASE WHEN EXISTS (SELECT 1 FROM {lease} WHERE owner IS NULL OR {live} = 0) \
             THEN 1 ELSE 0 END"
        )
    }

    fn reads(&self) -> &[PartitionRead] {
        &self.request.reads
    }

    /// The partitions whose parked lanes are asked for.
    fn parked(&self) -> Vec<i64> {
        let reads = self.reads().iter().filter(|read| read.parked);
        reads.map(|read| i64::from(read.partition.0)).collect()
    }

    /// One more than wanted, to tell a full look from a truncated one.
    fn look_limit(&self) -> i64 {
        i64::from(self.request.look_limit) + 1
    }
}

/// Rows and bytes to ask for. With no byte to spare the first row still comes, and it alone.
pub(crate) fn bounds(limit: u32, bytes: u64) -> (i64, i64) {
    match bytes {
        0 => (i64::from(limit.min(1)), 1),
        bytes => (i64::from(limit), i64::try_from(bytes).unwrap_or(i64::MAX)),
    }
}
