//! Dead letters.

use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{DeadFilter, DeadLetter};

use crate::failure::Failure;
use crate::row::{Columns, MESSAGE, join, key_value, message_columns, micros, moment};
use crate::slot::{Operation, begin_write};
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

/// Takes dead letters away, in one transaction.
#[derive(Debug)]
pub(super) struct Remove<'a> {
    pub(super) context: &'a Context,
    pub(super) change: Change,
    pub(super) which: Which<'a>,
    pub(super) limit: u32,
}

/// Where removed dead letters go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Back into the outbox.
    Redrive,
    /// Nowhere.
    Discard,
}

/// Which dead letters are meant.
#[derive(Debug, Clone, Copy)]
pub(super) enum Which<'a> {
    Matching(&'a DeadFilter),
    OlderThan(Duration),
}

/// How many dead letters one statement moves or deletes.
const CHUNK: usize = 1000;

#[async_trait]
impl Operation for List<'_> {
    type Output = Vec<DeadLetter>;
    const NAME: &'static str = "listing dead letters";

    async fn run<S: Session>(&self, session: &mut S) -> Result<Vec<DeadLetter>, Failure> {
        let dialect = self.context.dialect;
        let mut sql = Sql::new(
            dialect,
            format!(
                "SELECT {}, {}, {}, error, {} FROM {}",
                message_columns(dialect),
                dialect.int("partition_no"),
                dialect.int("attempts"),
                dialect.epoch("died_at"),
                self.context.tables.dead
            ),
        );
        condition(&mut sql, dialect, Which::Matching(self.filter));
        sql.push(" ORDER BY dead_no LIMIT ").bind(self.limit);
        let rows = session.query(&sql.finish(LETTER)).await?;
        rows.into_iter().map(|row| letter(&mut Columns::new(row))).collect()
    }
}

const LETTER: &[Type] = &join::<12>(&[MESSAGE, &[Type::Int, Type::Int, Type::Text, Type::Int]]);

fn letter(row: &mut Columns) -> Result<DeadLetter, Failure> {
    // What can't be read of a dead letter is shown empty: its error says why it died.
    let mut defect = None;
    Ok(DeadLetter {
        message: row.message(&mut defect)?,
        partition: row.partition()?,
        attempts: u32::try_from(row.int()?).unwrap_or(0),
        error: row.text("error", &mut defect)?.unwrap_or_default().to_string(),
        died_at: moment(row.int()?),
    })
}

fn condition(sql: &mut Sql, dialect: Dialect, which: Which<'_>) {
    sql.push(" WHERE 1 = 1");
    match which {
        Which::Matching(filter) => {
            if let Some(id) = filter.id {
                sql.push(" AND id = ").bind(id);
            }
            if let Some(topic) = &filter.topic {
                sql.push(" AND topic = ").bind(std::sync::Arc::clone(topic));
            }
            if let Some(key) = &filter.key {
                sql.push(" AND message_key = ").bind(key_value(dialect, Some(key)));
            }
        }
        Which::OlderThan(age) => {
            sql.push(" AND died_at < ");
            let age = sql.placeholder(-micros(age));
            sql.push(&dialect.constant_after(&age));
        }
    }
}

#[async_trait]
impl Operation for Remove<'_> {
    type Output = u64;
    const NAME: &'static str = "changing dead letters";

    async fn run<S: Session>(&self, session: &mut S) -> Result<u64, Failure> {
        begin_write(session, self.context.dialect, self.context.lock_timeout).await?;
        let chosen = self.choose(session).await?;
        for numbers in chosen.chunks(CHUNK) {
            if self.change == Change::Redrive {
                session.execute(&self.put_back(numbers).finish(&[])).await?;
            }
            let table = &self.context.tables.dead;
            let mut delete = self.sql(format!("DELETE FROM {table} WHERE dead_no"));
            delete.one_of(numbers);
            session.execute(&delete.finish(&[])).await?;
        }
        session.run("COMMIT").await?;
        Ok(chosen.len() as u64)
    }
}

impl Remove<'_> {
    fn sql(&self, text: String) -> Sql {
        Sql::new(self.context.dialect, text)
    }

    /// Locks those that are meant, the oldest first.
    async fn choose<S: Session>(&self, session: &mut S) -> Result<Vec<i64>, Failure> {
        let dialect = self.context.dialect;
        let mut sql = self.sql(format!("SELECT dead_no FROM {}", self.context.tables.dead));
        condition(&mut sql, dialect, self.which);
        sql.push(" ORDER BY dead_no LIMIT ").bind(self.limit);
        sql.push(if dialect == Dialect::Sqlite { "" } else { " FOR UPDATE" });
        let rows = session.query(&sql.finish(&[Type::Int])).await?;
        rows.into_iter().map(|row| Columns::new(row).int()).collect()
    }

    /// They get new numbers in the order in which they died, and start afresh.
    fn put_back(&self, numbers: &[i64]) -> Sql {
        let columns = "partition_no, id, topic, message_key, message_type, content_type, payload, \
                       headers, created_at";
        let (outbox, dead) = (&self.context.tables.outbox, &self.context.tables.dead);
        let mut sql = self.sql(format!(
            "INSERT INTO {outbox} ({columns}) SELECT {columns} FROM {dead} WHERE dead_no"
        ));
        sql.one_of(numbers).push(" ORDER BY dead_no");
        sql
    }
}
