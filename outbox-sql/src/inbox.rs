//! What a consumer has received already.

use std::time::Duration;

use crate::name::Tables;
use crate::row::micros;
use crate::statement::Sql;
use crate::{Dialect, DriverError, Error, Known, OpenOutbox, Session, Statement};

/// Whether a message has come before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "a duplicate must not take effect again"]
pub enum Receipt {
    /// It is new. If the transaction commits, every later one is a duplicate.
    First,
    /// It has taken effect already.
    Duplicate,
}

/// What the inboxes of all ORMs have in common. Cheap to clone.
#[derive(Debug, Clone)]
pub struct OpenInbox {
    outbox: OpenOutbox,
    tables: Tables,
}

impl OpenOutbox {
    /// For adapters: the inbox beside the outbox.
    pub fn open_inbox(&self) -> OpenInbox {
        OpenInbox { outbox: self.clone(), tables: Tables::new(self.dialect(), self.names()) }
    }
}

impl OpenInbox {
    /// Which SQL it speaks.
    pub fn dialect(&self) -> Dialect {
        self.outbox.dialect()
    }

    /// For adapters: notes that `consumer` has received `message_id`, in the transaction that
    /// `session` is in; see [`OpenOutbox::write`] for that. One that is being received elsewhere at
    /// the same time is waited for.
    ///
    /// A consumer's name has 1 to 255 bytes, an id 1 to 512, without NUL.
    pub async fn receive<S: Session>(
        &self,
        session: &mut S,
        (consumer, message_id): (&str, &str),
        known: Known,
    ) -> Result<Receipt, Error> {
        for (part, text, most) in [("consumer", consumer, 255), ("message id", message_id, 512)] {
            if text.is_empty() || text.len() > most || text.contains('\0') {
                return Err(Error::Receipt { part, most });
            }
        }
        let session = &mut self.outbox.lent(session);
        self.outbox.check_open(session, known).await?;
        let done = session.execute(&self.insert(consumer, message_id)).await;
        match done {
            Ok(0) => Ok(Receipt::Duplicate),
            Ok(_) => Ok(Receipt::First),
            Err(error) if self.is_duplicate(&error) => Ok(Receipt::Duplicate),
            Err(error) => Err(self.outbox.write_error(RECEIVING, error)),
        }
    }

    /// For adapters: forgets up to `limit` of what was received longer than `age` ago, and returns
    /// how many. `session` should be in no transaction, or behind a pooler in one of its own: what it
    /// forgets stays locked until its end.
    pub async fn purge<S: Session>(
        &self,
        session: &mut S,
        age: Duration,
        limit: u32,
    ) -> Result<u64, Error> {
        let done = self.outbox.lent(session).execute(&self.delete(age, limit)).await;
        done.map_err(|error| Error::database("purging the inbox", error))
    }

    /// MySQL and MariaDB could ignore an error only together with all others. The transaction
    /// stays open after it.
    fn is_duplicate(&self, error: &DriverError) -> bool {
        self.dialect() == Dialect::MySql && error.code() == Some("1062")
    }

    fn insert(&self, consumer: &str, message_id: &str) -> Statement {
        let text = format!("INSERT INTO {} (consumer, message_id) VALUES (", self.tables.inbox);
        let mut sql = Sql::new(self.dialect(), text);
        sql.bind_guarded(consumer, self.outbox.knows_transactions())
            .push(", ")
            .bind(message_id)
            .push(")");
        if self.dialect() != Dialect::MySql {
            sql.push(" ON CONFLICT DO NOTHING");
        }
        sql.finish(&[])
    }

    fn delete(&self, age: Duration, limit: u32) -> Statement {
        let (dialect, inbox) = (self.dialect(), &self.tables.inbox);
        let mut sql = Sql::new(dialect, format!("DELETE FROM {inbox} WHERE "));
        let row = match dialect {
            Dialect::Postgres => Some("ctid"),
            Dialect::Sqlite => Some("rowid"),
            Dialect::MySql => None,
        };
        if let Some(row) = row {
            sql.push(&format!("{row} IN (SELECT {row} FROM {inbox} WHERE "));
        }
        let past = dialect.constant_after(&sql.placeholder(-micros(age)));
        sql.push("received_at < ").push(&past).push(" ORDER BY received_at LIMIT ");
        sql.bind(limit);
        match dialect {
            Dialect::Postgres => sql.push(" FOR UPDATE SKIP LOCKED)"),
            Dialect::Sqlite => sql.push(")"),
            Dialect::MySql => &mut sql,
        };
        sql.finish(&[])
    }
}

const RECEIVING: &str = "receiving";
