//! Writing down what became of messages.

mod delivered;
mod fenced;
mod verdicts;

use async_trait::async_trait;
use outbox_core::{SettleReport, SettleRequest, TxId};

use crate::failure::Failure;
use crate::slot::{Operation, begin_write};
use crate::store::Context;
use crate::{Dialect, Session};

/// One call of [`outbox_core::Store::settle`].
#[derive(Debug)]
pub(crate) struct Settle<'a> {
    pub(crate) context: &'a Context,
    pub(crate) request: &'a SettleRequest,
}

#[async_trait]
impl Operation for Settle<'_> {
    type Output = SettleReport;
    const NAME: &'static str = "settling";

    async fn run<S: Session>(&self, session: &mut S) -> Result<SettleReport, Failure> {
        match self.context.dialect {
            // A commit is what costs on SQLite, so there is one for everything.
            Dialect::Sqlite => {
                begin_write(session, self.context.dialect, self.context.lock_timeout).await?;
                delivered::delete(self, session).await?;
                let verdicts = verdicts::write(self, session).await?;
                session.run("COMMIT").await?;
                Ok(SettleReport { verdicts, tx: None })
            }
            // Elsewhere the delivered rows go first, in a statement that commits by itself: they
            // are facts, and must not wait for what the verdicts wait for.
            Dialect::Postgres | Dialect::MySql => {
                let tx = delivered::delete(self, session).await?.map(TxId);
                let mut report = SettleReport { verdicts: Vec::new(), tx };
                if !self.request.verdicts.is_empty() {
                    begin_write(session, self.context.dialect, self.context.lock_timeout).await?;
                    report.verdicts = match self.context.dialect {
                        Dialect::Postgres => fenced::write(self, session).await?,
                        _ => verdicts::write(self, session).await?,
                    };
                    session.run("COMMIT").await?;
                }
                Ok(report)
            }
        }
    }
}
