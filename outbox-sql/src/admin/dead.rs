//! Dead letters.

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{DeadFilter, DeadLetter};

use crate::failure::Failure;
use crate::row::{Columns, MESSAGE, join, key_value, message_columns, micros, moment};
use crate::slot::Operation;
use crate::statement::Sql;
use crate::store::Context;
use crate::{Dialect, Session, Type};

/// Lists dead letters.
#[derive(Debug)]
pub(super) struct List<'a> {
    pub(super) context: &'a Context,
    pub(super) filter: &'a DeadFilter,
    pub(super) limit: u32,
}

#[async_trait]
impl Operation for List<'_> {
    type Output = Vec<DeadLetter>;
    const NAME: &'static str = "listing dead letters";

    async fn run<S: Session>(&self, session: &mut S) -> Result<Vec<DeadLetter>, Failure> {
        let dialect = self.context.dialect;
        let mut sql = Sql::new(
            dialect,
            format!(
                "SELECT {}, {}, {}, error, {}, parked_behind FROM {}",
                message_columns(dialect),
                dialect.int("partition_no"),
                dialect.int("attempts"),
                dialect.epoch("died_at"),
                self.context.tables.dead
            ),
        );
        condition(&mut sql, dialect, self.filter);
        sql.push(" ORDER BY dead_no LIMIT ").bind(self.limit);
        let rows = session.query(&sql.finish(LETTER)).await?;
        rows.into_iter().map(|row| letter(&mut Columns::new(row))).collect()
    }
}

const LETTER: &[Type] =
    &join::<13>(&[MESSAGE, &[Type::Int, Type::Int, Type::Text, Type::Int, Type::Uuid]]);

fn letter(row: &mut Columns) -> Result<DeadLetter, Failure> {
    // What can't be read of a dead letter is shown empty: its error says why it died.
    let mut defect = None;
    Ok(DeadLetter {
        message: row.message(&mut defect)?,
        partition: row.partition()?,
        attempts: u32::try_from(row.int()?).unwrap_or(0),
        error: row.text("error", &mut defect)?.unwrap_or_default().to_string(),
        died_at: moment(row.int()?),
        behind: row.optional_uuid()?,
    })
}

/// Writes the condition that `filter` is.
pub(super) fn condition(sql: &mut Sql, dialect: Dialect, filter: &DeadFilter) {
    let DeadFilter { id, topic, key, older_than, error } = filter;
    sql.push(" WHERE 1 = 1");
    if let Some(id) = id {
        sql.push(" AND id = ").bind(*id);
    }
    if let Some(topic) = topic {
        sql.push(" AND topic = ").bind(Arc::clone(topic));
    }
    if let Some(key) = key {
        sql.push(" AND message_key = ").bind(key_value(dialect, Some(key)));
    }
    if let Some(age) = older_than {
        sql.push(" AND died_at < ");
        let age = sql.placeholder(-micros(*age));
        sql.push(&dialect.constant_after(&age));
    }
    if let Some(text) = error {
        let contains = match dialect {
            Dialect::Postgres => "strpos",
            Dialect::MySql | Dialect::Sqlite => "instr",
        };
        sql.push(&format!(" AND {contains}(error, ")).bind(Arc::clone(text)).push(") > 0");
    }
}
