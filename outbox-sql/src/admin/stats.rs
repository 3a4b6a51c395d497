//! How an outbox stands.

use async_trait::async_trait;
use outbox_core::{PartitionStats, Stats};

use crate::failure::Failure;
use crate::row::Columns;
use crate::slot::Operation;
use crate::statement::Sql;
use crate::store::Context;
use crate::{Session, Type};

#[derive(Debug)]
pub(super) struct Read<'a>(pub(super) &'a Context);

#[async_trait]
impl Operation for Read<'_> {
    type Output = Stats;
    const NAME: &'static str = "reading statistics";

    async fn run<S: Session>(&self, session: &mut S) -> Result<Stats, Failure> {
        let mut stats = Stats::default();
        for row in session.query(&self.partitions().finish(PARTITION)).await? {
            let mut row = Columns::new(row);
            let (partition, depth) = (row.partition()?, row.count()?);
            let (owner, live) = (row.relay()?, row.int()? == 1);
            let owner = owner.filter(|_| live);
            stats.depth += depth;
            stats.partitions.push(PartitionStats { partition, depth, owner });
        }
        for row in session.query(&self.totals().finish(TOTALS)).await? {
            let mut row = Columns::new(row);
            stats.oldest_age = row.duration()?;
            let (all, parked) = (row.count()?, row.count()?);
            (stats.dead, stats.parked) = (all.saturating_sub(parked), parked);
            stats.relays = row.count()?;
        }
        Ok(stats)
    }
}

const PARTITION: &[Type] = &[Type::Int, Type::Int, Type::Uuid, Type::Int];
const TOTALS: &[Type] = &[Type::Int, Type::Int, Type::Int, Type::Int];

impl Read<'_> {
    fn partitions(&self) -> Sql {
        let Context { dialect, tables, .. } = self.0;
        let text = format!(
            "SELECT {}, {}, owner, {} FROM {} AS lease LEFT JOIN \
             (SELECT partition_no AS number, COUNT(*) AS pending FROM {} GROUP BY partition_no) \
             AS depth ON number = partition_no ORDER BY partition_no",
            dialect.int("partition_no"),
            dialect.int("COALESCE(pending, 0)"),
            dialect.int(&dialect.is_live()),
            tables.lease,
            tables.outbox,
        );
        Sql::new(*dialect, text)
    }

    fn totals(&self) -> Sql {
        let Context { dialect, tables, .. } = self.0;
        // The age is that of the oldest by its producer's clock, told by the database's.
        let age = dialect.int(&format!("-({})", dialect.until("MIN(created_at)")));
        let text = format!(
            "SELECT (SELECT {age} FROM {}), (SELECT COUNT(*) FROM {}), \
             (SELECT COUNT(*) FROM {} WHERE parked_behind <> id), \
             (SELECT COUNT(*) FROM {} WHERE {} = 1)",
            tables.outbox,
            tables.dead,
            tables.dead,
            tables.relay,
            dialect.is_live(),
        );
        Sql::new(*dialect, text)
    }
}
