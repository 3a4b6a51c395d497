//! Reading rows of single lanes again.

use async_trait::async_trait;
use outbox_core::{LaneRead, RereadRequest, StoredRow};

use crate::durable::make_durable;
use crate::failure::Failure;
use crate::fetch::bounds;
use crate::row::{Columns, STORED, key_value, stored_columns};
use crate::slot::Operation;
use crate::statement::{Sql, step};
use crate::store::Context;
use crate::{Session, Statement};

/// One call of [`outbox_core::Store::reread`].
#[derive(Debug)]
pub(crate) struct Reread<'a> {
    pub(crate) context: &'a Context,
    pub(crate) request: &'a RereadRequest,
}

/// How many lanes are read by one statement.
const CHUNK: usize = 32;

#[async_trait]
impl Operation for Reread<'_> {
    type Output = Vec<StoredRow>;
    const NAME: &'static str = "reading lanes again";

    async fn run<S: Session>(&self, session: &mut S) -> Result<Vec<StoredRow>, Failure> {
        let mut found = Vec::new();
        let (keyed, keyless): (Vec<_>, Vec<_>) =
            self.request.lanes.iter().partition(|lane| lane.key.is_some());
        for mut rest in [&keyed[..], &keyless[..]] {
            while !rest.is_empty() {
                let (lanes, others) = rest.split_at(step(rest.len().min(CHUNK)));
                for row in session.query(&self.statement(lanes)).await? {
                    let row = Columns::new(row).stored()?;
                    // A key that can't be read counts as none, which only its reader knows.
                    if lanes.iter().any(|lane| holds(lane, &row)) {
                        found.push(row);
                    }
                }
                rest = others;
            }
        }
        if !found.is_empty() {
            make_durable(self.context, session).await?;
        }
        found.sort_unstable_by_key(|row| (row.partition, row.seq));
        Ok(found)
    }
}

fn holds(lane: &LaneRead, row: &StoredRow) -> bool {
    lane.partition == row.partition
        && (lane.from..=lane.to.max(lane.from)).contains(&row.seq)
        && lane.key.as_deref() == row.message.key()
}

impl Reread<'_> {
    fn statement(&self, lanes: &[&LaneRead]) -> Statement {
        let mut sql = Sql::new(self.context.dialect, "");
        for (index, lane) in lanes.iter().enumerate() {
            sql.push(if index == 0 { "" } else { " UNION ALL " });
            self.lane(&mut sql, lane);
        }
        sql.finish(STORED)
    }

    fn lane(&self, sql: &mut Sql, lane: &LaneRead) {
        let columns = stored_columns(self.context.dialect);
        let outbox = &self.context.tables.outbox;
        let (rows, bytes) = bounds(lane.limit, lane.bytes);
        sql.push(&format!(
            "SELECT {columns} FROM (SELECT lane.*, \
             SUM(LENGTH(payload)) OVER (ORDER BY seq ROWS UNBOUNDED PRECEDING) \
             - LENGTH(payload) AS size_before FROM (SELECT * FROM {outbox} \
             WHERE partition_no = "
        ));
        sql.bind(lane.partition.0);
        match &lane.key {
            Some(key) => {
                sql.push(" AND seq >= ").bind(lane.from.0).push(" AND seq <= ").bind(lane.to.0);
                sql.push(" AND message_key = ").bind(key_value(self.context.dialect, Some(key)));
            }
            None => {
                sql.push(" AND seq = ").bind(lane.from.0);
            }
        }
        sql.push(" ORDER BY seq LIMIT ").bind(rows);
        sql.push(") AS lane) AS counted WHERE size_before < ").bind(bytes);
    }
}
