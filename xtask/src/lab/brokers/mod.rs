//! The brokers that are measured: the adapter of each, and its client used without one.

mod kafka;
mod nats;
mod rabbitmq;
mod redis;
mod sqs;

use std::env;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use clap::ValueEnum;
use outbox_core::relay::RelayConfig;
use outbox_core::{Epoch, Message, Outcome, Publisher};
use outbox_testkit::suite::publisher::tokens;
use tokio::task::JoinSet;
use uuid::Uuid;

use self::kafka::Writing;

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Broker {
    Kafka,
    KafkaTransactional,
    KafkaFenced,
    Nats,
    NatsNewest,
    NatsFenced,
    Rabbitmq,
    Redis,
    Sqs,
}

/// A broker's client as whoever needs no adapter would use it: it sends the whole batch, then
/// awaits every acknowledgement. Acknowledgements, properties and destinations are those that the
/// adapter has.
#[async_trait]
pub(super) trait Bare: Send + Sync {
    /// Makes an empty destination for the topic of that name.
    async fn create(&self, name: &str) -> Result<()>;

    async fn remove(&self, name: &str) -> Result<()>;

    /// Fails unless all are acknowledged.
    async fn publish(&self, batch: &[Arc<Message>]) -> Result<()>;
}

/// Both ways to one broker, connected.
pub(super) struct Pair {
    pub(super) adapter: Arc<dyn Publisher>,
    pub(super) bare: Arc<dyn Bare>,
}

impl Broker {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Kafka => "Kafka",
            Self::KafkaTransactional => "Kafka, transactions",
            Self::KafkaFenced => "Kafka, fenced",
            Self::Nats => "NATS 2.9",
            Self::NatsNewest => "NATS, newest",
            Self::NatsFenced => "NATS, fenced",
            Self::Rabbitmq => "RabbitMQ",
            Self::Redis => "Redis",
            Self::Sqs => "SQS (LocalStack)",
        }
    }

    /// These, or all.
    pub(super) fn or_all(chosen: &[Self]) -> Vec<Self> {
        if chosen.is_empty() { Self::value_variants().to_vec() } else { chosen.to_vec() }
    }

    fn url(self) -> String {
        let (variable, default) = match self {
            Self::Kafka | Self::KafkaTransactional | Self::KafkaFenced => {
                ("OUTBOX_TEST_KAFKA", "kafka://127.0.0.1:19092")
            }
            Self::Nats => ("OUTBOX_TEST_NATS", "nats://127.0.0.1:14222"),
            Self::NatsNewest | Self::NatsFenced => {
                ("OUTBOX_TEST_NATS_NEWEST", "nats://127.0.0.1:14223")
            }
            Self::Rabbitmq => ("OUTBOX_TEST_RABBITMQ", "amqp://outbox:outbox@127.0.0.1:15673/%2f"),
            Self::Redis => ("OUTBOX_TEST_REDIS", "redis://127.0.0.1:16379"),
            Self::Sqs => (
                "OUTBOX_TEST_SQS",
                "sqs://127.0.0.1:14566?region=us-east-1&access_key_id=test&secret_access_key=test",
            ),
        };
        env::var(variable).unwrap_or_else(|_| default.to_owned())
    }

    pub(super) async fn connect(self) -> Result<Pair> {
        let url = self.url();
        let pair = match self {
            Self::Kafka => kafka::connect(&url, Writing::Plainly).await,
            Self::KafkaTransactional => kafka::connect(&url, Writing::InTransactions).await,
            Self::KafkaFenced => kafka::connect(&url, Writing::Fenced).await,
            Self::Nats | Self::NatsNewest => nats::connect(&url, false).await,
            Self::NatsFenced => nats::connect(&url, true).await,
            Self::Rabbitmq => rabbitmq::connect(&url).await,
            Self::Redis => redis::connect(&url).await,
            Self::Sqs => sqs::connect(&url).await,
        };
        let name = self.name();
        pair.with_context(|| format!("{name} does not answer; try `cargo xtask services up`"))
    }
}

impl Pair {
    /// A new destination, by a name that every broker takes. What an earlier run left behind can't
    /// be measured again.
    pub(super) async fn destination(&self) -> Result<String> {
        let name = format!("bench-{}", Uuid::new_v4().simple());
        self.bare.create(&name).await.context("the destination could not be created")?;
        Ok(name)
    }

    pub(super) fn sides(&self) -> [Side; 2] {
        [Side::Adapter(Arc::clone(&self.adapter)), Side::Bare(Arc::clone(&self.bare))]
    }
}

/// One of the ways to a broker.
#[derive(Clone)]
pub(super) enum Side {
    Adapter(Arc<dyn Publisher>),
    Bare(Arc<dyn Bare>),
}

impl Side {
    /// Publishes all in batches, as many calls at once as said. Each call is a task, as in a relay.
    pub(super) async fn publish_all(
        &self,
        messages: &[Arc<Message>],
        batch: usize,
        calls: usize,
    ) -> Result<()> {
        let mut tasks = JoinSet::new();
        for batch in messages.chunks(batch) {
            if tasks.len() == calls {
                tasks.join_next().await.expect("some are under way")??;
            }
            let (side, batch) = (self.clone(), batch.to_vec());
            tasks.spawn(async move { side.publish(&batch).await });
        }
        while let Some(done) = tasks.join_next().await {
            done??;
        }
        Ok(())
    }

    async fn publish(&self, batch: &[Arc<Message>]) -> Result<()> {
        let publisher = match self {
            Self::Adapter(publisher) => publisher,
            Self::Bare(bare) => return bare.publish(batch).await,
        };
        let mut outcomes = vec![Outcome::Unknown; batch.len()];
        let deadline = Instant::now() + RelayConfig::default().publish_timeout;
        publisher.publish_fenced(batch, &tokens(batch, Epoch(1)), deadline, &mut outcomes).await;
        let other = outcomes.iter().find(|outcome| **outcome != Outcome::Delivered);
        ensure!(other.is_none(), "the adapter says {other:?}");
        Ok(())
    }
}
