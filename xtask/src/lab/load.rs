//! The messages that are measured with.

use std::sync::Arc;

use anyhow::Result;
use bytes::Bytes;
use outbox_core::Message;

use super::target::Subject;

/// So many messages, all alike but for their keys.
#[derive(Debug, Clone)]
pub(super) struct Load<'a> {
    pub(super) topic: &'a str,
    pub(super) messages: u64,
    /// Bytes of each payload.
    pub(super) bytes: usize,
    /// Different keys.
    pub(super) keys: u64,
}

/// Messages of one transaction.
const CHUNK: u64 = 5000;

impl Load<'_> {
    /// New ones: some brokers drop those whose ids they have seen.
    pub(super) fn messages(&self) -> Result<Vec<Arc<Message>>> {
        Ok(self.fresh()?.into_iter().map(Arc::new).collect())
    }

    /// The same, for who enqueues them.
    pub(super) fn fresh(&self) -> Result<Vec<Message>> {
        self.range(0, self.messages)
    }

    /// Commits new ones.
    pub(super) async fn enqueue(&self, subject: &dyn Subject) -> Result<()> {
        let mut next = 0;
        while next < self.messages {
            let until = (next + CHUNK).min(self.messages);
            subject.enqueue(&self.range(next, until)?).await?;
            next = until;
        }
        Ok(())
    }

    fn range(&self, from: u64, until: u64) -> Result<Vec<Message>> {
        let payload = Bytes::from(vec![b'x'; self.bytes]);
        let message = |n: u64| {
            let message = Message::bytes(self.topic, payload.clone()).key(n % self.keys);
            message.message_type("bench").build()
        };
        Ok((from..until).map(message).collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_message_is_new_and_keys_recur() {
        let load = Load { topic: "t", messages: 10, bytes: 3, keys: 4 };
        let messages = [load.messages().unwrap(), load.messages().unwrap()].concat();
        let ids: BTreeSet<_> = messages.iter().map(|message| message.id()).collect();
        let keys: BTreeSet<_> = messages.iter().map(|message| message.key()).collect();
        assert_eq!((messages.len(), ids.len(), keys.len()), (20, 20, 4));
        assert!(messages.iter().all(|m| m.topic() == "t" && m.payload() == "xxx"));
    }
}
