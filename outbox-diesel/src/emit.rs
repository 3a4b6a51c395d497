//! What the work in a transaction is given.

use std::fmt;
use std::ops::{Deref, DerefMut};

use outbox_core::{IntoMessage, Message};
use outbox_sql::OpenOutbox;

use crate::Error;

/// A transaction of Diesel's or diesel-async's with an outbox. It dereferences to the connection:
/// `&mut *tx` executes queries in it, and with diesel-async `&mut tx` does, too.
pub struct OutboxTransaction<'t, C> {
    pub(crate) connection: &'t mut C,
    pub(crate) outbox: &'t OpenOutbox,
    pub(crate) emitted: &'t mut Vec<Message>,
}

impl<C> OutboxTransaction<'_, C> {
    /// Makes and checks `message`, and keeps it until the transaction's end stores it with the
    /// others, in one statement. After an error the transaction stays usable. What is enqueued
    /// through the connection meanwhile comes before it: use one of the two for messages of one
    /// key.
    pub fn emit(&mut self, message: impl IntoMessage) -> Result<(), Error> {
        self.emitted.push(self.outbox.message(message)?);
        Ok(())
    }
}

impl<C> Deref for OutboxTransaction<'_, C> {
    type Target = C;

    fn deref(&self) -> &C {
        self.connection
    }
}

impl<C> DerefMut for OutboxTransaction<'_, C> {
    fn deref_mut(&mut self) -> &mut C {
        self.connection
    }
}

impl<C> fmt::Debug for OutboxTransaction<'_, C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboxTransaction")
            .field("outbox", &self.outbox)
            .field("emitted", &self.emitted.len())
            .finish_non_exhaustive()
    }
}
