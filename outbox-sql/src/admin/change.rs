//! Changing dead letters, in one transaction.

use async_trait::async_trait;
use outbox_core::DeadChange;

use super::dead::condition;
use super::{audit, lanes};
use crate::enqueue::COLUMNS;
use crate::failure::Failure;
use crate::row::Columns;
use crate::slot::{Operation, begin_write};
use crate::statement::Sql;
use crate::store::Context;
use crate::{Session, Type};

/// Takes dead letters away.
#[derive(Debug)]
pub(super) struct Change<'a> {
    pub(super) context: &'a Context,
    pub(super) action: Action,
    pub(super) asked: &'a DeadChange,
}

/// Where they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Action {
    /// Back into the outbox.
    Redrive,
    /// Nowhere, because an operator says so.
    Discard,
    /// Nowhere, because of their age.
    Purge,
}

/// How many dead letters one statement moves or deletes.
const CHUNK: usize = 1000;

#[async_trait]
impl Operation for Change<'_> {
    type Output = u64;
    const NAME: &'static str = "changing dead letters";

    async fn run<S: Session>(&self, session: &mut S) -> Result<u64, Failure> {
        if self.asked.dry_run {
            return self.count(session).await;
        }
        begin_write(session, self.context.dialect, self.context.lock_timeout).await?;
        let (single, in_lanes) = self.choose(session).await?;
        for numbers in single.chunks(CHUNK) {
            if self.action == Action::Redrive {
                self.put_back(session, COLUMNS, numbers).await?;
            }
            self.delete(session, numbers).await?;
        }
        let mut waiting = 0;
        for numbers in in_lanes.chunks(CHUNK) {
            waiting += self.put_lanes_back(session, numbers).await?;
        }
        let count = match self.action {
            Action::Redrive => single.len() + waiting,
            Action::Discard | Action::Purge => single.len() + in_lanes.len(),
        } as u64;
        if let Some(name) = self.action.audited()
            && count > 0
        {
            session.execute(&audit::note(self.context, name, self.asked, count)).await?;
        }
        session.run("COMMIT").await?;
        Ok(count)
    }
}

impl Action {
    /// Its name in the audit, if it is written down there.
    fn audited(self) -> Option<&'static str> {
        match self {
            Self::Redrive => Some("redrive"),
            Self::Discard => Some("discard"),
            Self::Purge => None,
        }
    }

    fn condition(self) -> &'static str {
        match self {
            Self::Redrive => "",
            Self::Discard => " AND (parked_behind IS NULL OR parked_behind = id)",
            Self::Purge => " AND parked_behind IS NULL",
        }
    }
}

impl Change<'_> {
    fn sql(&self, text: String) -> Sql {
        Sql::new(self.context.dialect, text)
    }

    /// Writes a query of those that are meant, the oldest first.
    fn meant(&self, sql: &mut Sql, columns: &str) {
        sql.push(&format!("SELECT {columns} FROM {}", self.context.tables.dead));
        condition(sql, self.context.dialect, &self.asked.filter);
        sql.push(self.action.condition());
        sql.push(" ORDER BY dead_no LIMIT ").bind(self.asked.limit);
    }

    /// How many would be changed. It locks nothing and writes nothing, however many they are.
    async fn count<S: Session>(&self, session: &mut S) -> Result<u64, Failure> {
        let mut sql = self.sql("SELECT ".to_owned());
        let whole_lanes = self.action == Action::Redrive;
        let single = if whole_lanes { " WHERE parked_behind IS NULL" } else { "" };
        sql.push("(SELECT COUNT(*) FROM (");
        self.meant(&mut sql, lanes::LANE);
        sql.push(&format!(") AS single{single}) + "));
        if whole_lanes {
            sql.push(&format!("(SELECT COUNT(*) FROM (SELECT DISTINCT {} FROM (", lanes::LANE));
            self.meant(&mut sql, lanes::LANE);
            sql.push(") AS meant WHERE parked_behind IS NOT NULL) AS lane");
            sql.push(&lanes::letters_of_lane(&self.context.tables.dead)).push(")");
        } else {
            sql.push("0");
        }
        let mut count = 0;
        for row in session.query(&sql.finish(&[Type::Int])).await? {
            count = Columns::new(row).count()?;
        }
        Ok(count)
    }

    /// Locks those that are meant; those of parked lanes come apart.
    async fn choose<S: Session>(&self, session: &mut S) -> Result<(Vec<i64>, Vec<i64>), Failure> {
        let dialect = self.context.dialect;
        let parked = dialect.int("CASE WHEN parked_behind IS NULL THEN 0 ELSE 1 END");
        let mut sql = self.sql(String::new());
        self.meant(&mut sql, &format!("dead_no, {parked}"));
        sql.push(dialect.for_update());
        let (mut single, mut in_lanes) = (Vec::new(), Vec::new());
        for row in session.query(&sql.finish(&[Type::Int, Type::Int])).await? {
            let mut row = Columns::new(row);
            let (number, parked) = (row.int()?, row.int()? == 1);
            if parked { &mut in_lanes } else { &mut single }.push(number);
        }
        Ok((single, in_lanes))
    }

    /// Puts the whole lanes of those back at their places; on a discard without the messages that
    /// died. Returns how many messages went back.
    async fn put_lanes_back<S: Session>(
        &self,
        session: &mut S,
        numbers: &[i64],
    ) -> Result<usize, Failure> {
        let letters = lanes::open(self.context, session, numbers).await?;
        let back: Vec<i64> = letters
            .iter()
            .filter(|letter| self.action == Action::Redrive || letter.waits)
            .map(|letter| letter.number)
            .collect();
        for numbers in back.chunks(CHUNK) {
            self.put_back(session, &format!("seq, {COLUMNS}"), numbers).await?;
        }
        let all: Vec<i64> = letters.iter().map(|letter| letter.number).collect();
        for numbers in all.chunks(CHUNK) {
            self.delete(session, numbers).await?;
        }
        Ok(back.len())
    }

    /// They start afresh: with their places, if those are among the `columns`, or with new ones in
    /// the order in which they died.
    async fn put_back<S: Session>(
        &self,
        session: &mut S,
        columns: &str,
        numbers: &[i64],
    ) -> Result<(), Failure> {
        let (outbox, dead) = (&self.context.tables.outbox, &self.context.tables.dead);
        let mut sql = self.sql(format!(
            "INSERT INTO {outbox} ({columns}) SELECT {columns} FROM {dead} WHERE dead_no"
        ));
        sql.one_of(numbers).push(" ORDER BY dead_no");
        session.execute(&sql.finish(&[])).await?;
        Ok(())
    }

    async fn delete<S: Session>(&self, session: &mut S, numbers: &[i64]) -> Result<(), Failure> {
        let mut sql = self.sql(format!("DELETE FROM {} WHERE dead_no", self.context.tables.dead));
        sql.one_of(numbers);
        session.execute(&sql.finish(&[])).await?;
        Ok(())
    }
}
