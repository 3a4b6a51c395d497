//! What a consumer has received, noted in its own transaction.

use std::marker::PhantomData;
use std::time::Duration;

use diesel::connection::LoadConnection;
use outbox_sql::{Known, OpenInbox, Receipt};

use super::Outbox;
use super::session::{ready, session};
use super::transaction::depth;
use crate::{Database, Error};

/// Makes a message that arrives at least once take effect once. Cheap to clone.
#[derive(Debug)]
pub struct Inbox<DB> {
    open: OpenInbox,
    database: PhantomData<fn() -> DB>,
}

impl<DB: Database> Outbox<DB> {
    /// The inbox that stands beside this outbox, for the consumers of the same service.
    pub fn inbox(&self) -> Inbox<DB> {
        Inbox { open: self.open_inbox(), database: PhantomData }
    }
}

impl<DB: Database> Inbox<DB> {
    /// Notes that `consumer` has received the message `message_id`, in the transaction in which the
    /// message takes effect. It is a duplicate if a committed transaction has noted it before, or
    /// this one; one that is under way elsewhere is waited for.
    ///
    /// `consumer` tells those apart that receive the same message for different ends; it has 1 to
    /// 255 bytes, `message_id` 1 to 512. Outside a transaction this is [`Error::NoTransaction`], as
    /// it is where SQLite has ended it and Diesel has heard of that. After any other error than
    /// [`Error::Receipt`] roll the transaction back.
    ///
    /// PostgreSQL doesn't tell here that a raw `COMMIT` or `ROLLBACK` of yours has ended the
    /// transaction: the receipt then stays, with nothing else. The commit of an outbox's transaction
    /// says so, an ORM's own doesn't.
    pub fn accept<C>(
        &self,
        connection: &mut C,
        consumer: &str,
        message_id: &str,
    ) -> Result<Receipt, Error>
    where
        C: LoadConnection<Backend = DB>,
    {
        if depth(connection, "receiving")?.is_none() {
            return Err(Error::NoTransaction);
        }
        let mut session = session(connection);
        ready(self.open.receive(&mut session, (consumer, message_id), Known::Transaction))
    }

    /// Forgets up to `limit` messages that were received longer than `age` ago, and returns how
    /// many: until it is less than `limit`, there are more. A message that comes again after that
    /// is new: `age` must be longer than any redelivery takes. Call it outside of transactions.
    pub fn purge<C>(&self, connection: &mut C, age: Duration, limit: u32) -> Result<u64, Error>
    where
        C: LoadConnection<Backend = DB>,
    {
        ready(self.open.purge(&mut session(connection), age, limit))
    }
}

impl<DB> Clone for Inbox<DB> {
    fn clone(&self) -> Self {
        Self { open: self.open.clone(), database: PhantomData }
    }
}
