//! Reads what arrives at a topic.

use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use outbox_core::broker::Tail;
use outbox_core::{Message, Reason};
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{Consumer, StreamConsumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::outcome::{is_missing_topic, is_refusal_of_all};
use crate::threads::on_thread;
use crate::{KafkaConfig, KafkaError, mapping, options};

/// Reads what arrives at the Kafka topic of a topic, in all partitions that it has. It joins no
/// group and commits nothing; of transactions it reads what is committed.
pub struct KafkaTail {
    consumer: StreamConsumer,
    topic: String,
}

impl KafkaTail {
    /// Begins with what arrives from now on.
    pub async fn connect(config: KafkaConfig, topic: &str) -> Result<Self, KafkaError> {
        config.check()?;
        options::check(config.librdkafka.keys())?;
        let destination = config.destination.of(topic);
        let destination =
            destination.ok_or_else(|| KafkaError::NoDestination(topic.to_owned()))?.into_owned();
        let mut options = options::connection(&config);
        // librdkafka wants the name of a group to assign partitions, though none is joined.
        options.set("group.id", "outbox-tail").set("enable.auto.commit", "false");
        options.set("isolation.level", "read_committed");
        let patience = config.connect_timeout();
        let consumer = on_thread(move || assign(&options, &destination, patience)).await?;
        Ok(Self { consumer, topic: topic.to_owned() })
    }
}

#[async_trait]
impl Tail for KafkaTail {
    async fn next(&mut self) -> Result<Message, Reason> {
        loop {
            match self.consumer.recv().await {
                Ok(record) => return Ok(mapping::message(&record, &self.topic)),
                Err(error) if is_passing(&error) => {}
                Err(error) => return Err(Reason::new(format!("Kafka: {error}"))),
            }
        }
    }
}

impl fmt::Debug for KafkaTail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KafkaTail").field("topic", &self.topic).finish_non_exhaustive()
    }
}

/// A consumer of all partitions from where they end now. Blocks.
fn assign(
    options: &ClientConfig,
    topic: &str,
    patience: Duration,
) -> Result<StreamConsumer, KafkaError> {
    let by = Instant::now() + patience;
    let left = || by.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let failed = |error: ClientError| not_readable(&error, topic);
    let consumer: StreamConsumer =
        FromClientConfig::from_config(options).map_err(options::refused)?;
    let metadata = consumer.fetch_metadata(Some(topic), left()).map_err(failed)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let found = found.ok_or_else(|| KafkaError::NoTopic(topic.to_owned()))?;
    if let Some(code) = found.error() {
        return Err(not_readable(&ClientError::MetadataFetch(code.into()), topic));
    }
    let mut partitions = TopicPartitionList::new();
    for partition in found.partitions() {
        // `Offset::End` would be looked up later, and miss what arrives meanwhile.
        let (_, end) = consumer.fetch_watermarks(topic, partition.id(), left()).map_err(failed)?;
        let added = partitions.add_partition_offset(topic, partition.id(), Offset::Offset(end));
        added.map_err(failed)?;
    }
    consumer.assign(&partitions).map_err(failed)?;
    Ok(consumer)
}

fn not_readable(error: &ClientError, topic: &str) -> KafkaError {
    match error.rdkafka_error_code() {
        Some(code) if is_missing_topic(code) => KafkaError::NoTopic(topic.to_owned()),
        Some(Code::TopicAuthorizationFailed | Code::Authentication | Code::SSL) => {
            KafkaError::Refused(error.to_string())
        }
        _ => KafkaError::Unreachable(error.to_string()),
    }
}

/// Whether the consumer goes on by itself.
fn is_passing(error: &ClientError) -> bool {
    match error.rdkafka_error_code() {
        Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut) => true,
        None | Some(Code::Authentication | Code::SSL | Code::TopicAuthorizationFailed) => false,
        Some(code) => is_refusal_of_all(code),
    }
}
