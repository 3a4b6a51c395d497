//! Who changed dead letters, and when.

use async_trait::async_trait;
use outbox_core::{AuditEntry, DeadChange};

use crate::failure::Failure;
use crate::row::{Columns, moment};
use crate::slot::Operation;
use crate::statement::Sql;
use crate::store::Context;
use crate::{Session, Statement, Type};

/// Lists what was changed, the latest first.
#[derive(Debug)]
pub(super) struct List<'a> {
    pub(super) context: &'a Context,
    pub(super) limit: u32,
}

#[async_trait]
impl Operation for List<'_> {
    type Output = Vec<AuditEntry>;
    const NAME: &'static str = "reading the audit";

    async fn run<S: Session>(&self, session: &mut S) -> Result<Vec<AuditEntry>, Failure> {
        let (dialect, audit) = (self.context.dialect, &self.context.tables.audit);
        let done_at = dialect.epoch("done_at");
        let mut sql = Sql::new(
            dialect,
            format!("SELECT {done_at}, done_by, action, meant, messages FROM {audit}"),
        );
        sql.push(" ORDER BY audit_no DESC LIMIT ").bind(self.limit);
        let rows = session.query(&sql.finish(ENTRY)).await?;
        rows.into_iter().map(|row| entry(&mut Columns::new(row))).collect()
    }
}

const ENTRY: &[Type] = &[Type::Int, Type::Text, Type::Text, Type::Text, Type::Int];

fn entry(row: &mut Columns) -> Result<AuditEntry, Failure> {
    Ok(AuditEntry {
        at: moment(row.int()?),
        by: text(row)?,
        action: text(row)?,
        filter: text(row)?,
        messages: row.count()?,
    })
}

fn text(row: &mut Columns) -> Result<String, Failure> {
    Ok(row.text("audit", &mut None)?.unwrap_or_default().to_string())
}

/// Writes down that `asked` was done to so many messages.
pub(super) fn note(
    context: &Context,
    action: &'static str,
    asked: &DeadChange,
    messages: u64,
) -> Statement {
    let audit = &context.tables.audit;
    let mut sql = Sql::new(
        context.dialect,
        format!("INSERT INTO {audit} (done_by, action, meant, messages) VALUES ("),
    );
    // PostgreSQL knows no text with a zero in it.
    sql.bind(&*asked.by.replace('\0', " ")).push(", ").bind(action).push(", ");
    sql.bind(&*asked.filter.to_string()).push(", ");
    sql.bind(i64::try_from(messages).unwrap_or(i64::MAX)).push(")");
    sql.finish(&[])
}
