//! What there is on the broker, and how it is asked for.

use lapin::ExchangeKind;
use lapin::options::{ExchangeDeclareOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use outbox_core::{Outcome, Reason};

use crate::QueueType;
use crate::link::Link;
use crate::outcome::{is_missing, undeclared, unsent};

impl Link {
    /// Whether nobody needs to be asked about a queue, or else an exchange.
    pub(crate) fn knows(&self, name: &str, is_queue: bool) -> bool {
        let known = if is_queue { self.queues() } else { self.exchanges() };
        known.contains(name) || (name.is_empty() && !is_queue)
    }

    /// Sees to it that there is such an exchange, or says what becomes of messages to it.
    /// Publishing to none would close the channel, under the other messages that are on it.
    pub(crate) async fn need_exchange(&self, name: &ShortString) -> Result<(), Outcome> {
        if self.knows(name.as_str(), false) {
            return Ok(());
        }
        let passive = ExchangeDeclareOptions { passive: true, ..Default::default() };
        let asked = async {
            let channel = self.new_channel().await?;
            let (kind, none) = (ExchangeKind::Direct, FieldTable::default());
            channel.exchange_declare(name.clone(), kind, passive, none).await
        };
        match asked.await {
            Ok(()) => {
                self.exchanges().insert(name.to_string());
                Ok(())
            }
            Err(error) if is_missing(&error) => {
                Err(Outcome::Rejected(Reason::new(format!("there is no exchange `{name}`"))))
            }
            Err(error) => Err(unsent(&error)),
        }
    }

    /// Creates the queue if it doesn't exist, or says what becomes of messages to it. One that
    /// exists stays as it is.
    pub(crate) async fn need_queue(
        &self,
        name: &ShortString,
        of: QueueType,
    ) -> Result<(), Outcome> {
        if self.knows(name.as_str(), true) {
            return Ok(());
        }
        self.make_queue(name, of).await.map_err(|error| undeclared(&error))?;
        self.queues().insert(name.to_string());
        Ok(())
    }

    pub(crate) async fn make_queue(&self, name: &ShortString, of: QueueType) -> lapin::Result<()> {
        match self.find_queue(name).await {
            Err(error) if is_missing(&error) => {
                let channel = self.new_channel().await?;
                let durable = QueueDeclareOptions { durable: true, ..Default::default() };
                channel.queue_declare(name.clone(), durable, arguments(of)).await.map(drop)
            }
            found => found,
        }
    }

    /// What becomes of messages for that queue that came back through the default exchange. They
    /// do if it doesn't exist, but also while the only node that has it is down.
    pub(crate) async fn explain_return(&self, name: &ShortString) -> Outcome {
        match self.find_queue(name).await {
            Err(error) if is_missing(&error) => {
                let reason = format!("there is no queue `{name}`");
                if self.queues().remove(name.as_str()) {
                    Outcome::Failed(Reason::new(format!("{reason} any more; it is created again")))
                } else {
                    let remedy = "declare it, or set the option `declare_queues`";
                    Outcome::Rejected(Reason::new(format!("{reason}: {remedy}")))
                }
            }
            Err(error) => unsent(&error),
            Ok(()) => {
                let reason = format!("no node could take it for queue `{name}`, which is there");
                Outcome::Unavailable(Reason::new(reason))
            }
        }
    }

    /// Next time, ask again.
    pub(crate) fn forget_exchange(&self, name: &str) {
        self.exchanges().remove(name);
    }

    async fn find_queue(&self, name: &ShortString) -> lapin::Result<()> {
        let channel = self.new_channel().await?;
        let passive = QueueDeclareOptions { passive: true, ..Default::default() };
        channel.queue_declare(name.clone(), passive, FieldTable::default()).await.map(drop)
    }
}

fn arguments(of: QueueType) -> FieldTable {
    let name = match of {
        QueueType::Quorum => "quorum",
        QueueType::Classic => "classic",
    };
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString(name.into()));
    arguments
}
