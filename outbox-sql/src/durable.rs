//! Nothing is read that a crash could take back.

use crate::failure::{Failure, schema};
use crate::store::Context;
use crate::{Dialect, Session, Statement};

/// Comes back when what `session` has read is as durable as the server makes what it commits.
///
/// MySQL and MariaDB show a transaction to others before its log is on the disk, unless they write
/// a binary log; a crash in between takes it back, when a relay may have published its messages
/// already. PostgreSQL and SQLite show it afterwards. The log is one: a commit of our own waits for
/// all that stands in it before, as `innodb_flush_log_at_trx_commit` says. Commits that wait at the
/// same time share one write of the log, and the row is locked for no longer than it takes to
/// change it.
pub(crate) async fn make_durable<S: Session>(
    context: &Context,
    session: &mut S,
) -> Result<(), Failure> {
    if context.dialect == Dialect::MySql {
        let flush = &context.tables.flush;
        let text = format!("UPDATE {flush} SET number = number + 1");
        let statement = Statement { text, binds: vec![], columns: &[], cached: true };
        if session.execute(&statement).await? == 0 {
            let repair = format!("INSERT INTO {flush} (number) VALUES (0)");
            return Err(schema(format!("a table has lost its row; run: {repair}")));
        }
    }
    Ok(())
}
