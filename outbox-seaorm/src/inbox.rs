//! What a consumer has received, noted in its own transaction.

use std::time::Duration;

use outbox_sql::{Known, OpenInbox, Receipt};
use sea_orm::{ConnectionTrait, TransactionSession};

use crate::lent::Lent;
use crate::{Error, Outbox};

/// Makes a message that arrives at least once take effect once. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Inbox(OpenInbox);

impl Outbox {
    /// The inbox that stands beside this outbox, for the consumers of the same service.
    pub fn inbox(&self) -> Inbox {
        Inbox(self.open_inbox())
    }
}

impl Inbox {
    /// Notes that `consumer` has received the message `message_id`, in the transaction in which the
    /// message takes effect. It is a duplicate if a committed transaction has noted it before, or
    /// this one; one that is under way elsewhere is waited for.
    ///
    /// `consumer` tells those apart that receive the same message for different ends; it has 1 to
    /// 255 bytes, `message_id` 1 to 512. A connection without a transaction is refused when this is
    /// compiled. After any other error than [`Error::Receipt`] roll the transaction back.
    ///
    /// PostgreSQL doesn't tell here that a raw `COMMIT` or `ROLLBACK` of yours has ended the
    /// transaction: the receipt then stays, with nothing else. The commit of an outbox's transaction
    /// says so, an ORM's own doesn't.
    pub async fn accept<C: ConnectionTrait + TransactionSession>(
        &self,
        transaction: &C,
        consumer: &str,
        message_id: &str,
    ) -> Result<Receipt, Error> {
        let mut session = Lent::new(transaction, self.0.dialect(), "receiving")?;
        self.0.receive(&mut session, (consumer, message_id), Known::Transaction).await
    }

    /// Forgets up to `limit` messages that were received longer than `age` ago, and returns how
    /// many: until it is less than `limit`, there are more. A message that comes again after that is
    /// new: `age` must be longer than any redelivery takes. Call it outside of transactions.
    pub async fn purge<C: ConnectionTrait>(
        &self,
        connection: &C,
        age: Duration,
        limit: u32,
    ) -> Result<u64, Error> {
        let mut session = Lent::new(connection, self.0.dialect(), "purging the inbox")?;
        self.0.purge(&mut session, age, limit).await
    }
}
