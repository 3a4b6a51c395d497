//! Reads what arrives at a topic.

use std::fmt;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use outbox_core::broker::Tail;
use outbox_core::{Message, Reason};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{Consumer as _, ConsumerContext, StreamConsumer};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::producer::Producer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::client::{self, Client, Complaint};
use crate::outcome::{is_missing_topic, is_refusal_of_all};
use crate::threads::{Living, on_thread};
use crate::{KafkaConfig, KafkaError, mapping, options};

/// Reads what arrives at the Kafka topic of a topic, in all partitions that it has. It joins no
/// group and commits nothing; of transactions it reads what is committed.
pub struct KafkaTail {
    consumer: Consumer,
    topic: String,
}

type Consumer = StreamConsumer<Listener>;

impl KafkaTail {
    /// Begins with what arrives from now on.
    pub async fn connect(config: KafkaConfig, topic: &str) -> Result<Self, KafkaError> {
        config.check()?;
        options::check(config.librdkafka.keys())?;
        let destination = config.destination.of(topic);
        let destination =
            destination.ok_or_else(|| KafkaError::NoDestination(topic.to_owned()))?.into_owned();
        let options = options::connection(&config);
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
                Err(error) if is_passing(&error) => {
                    tracing::warn!("Kafka: {error}; reading goes on when that is over");
                }
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

/// What librdkafka calls of a consumer. Errors come by what is read.
struct Listener;

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        client::log(level, facility, text);
    }
}

impl ConsumerContext for Listener {}

/// A consumer of all partitions from where they end now. Blocks.
///
/// A producer asks for them: why it isn't let in it says at once, and a consumer only that nobody
/// has answered.
fn assign(options: &ClientConfig, topic: &str, patience: Duration) -> Result<Consumer, KafkaError> {
    let by = Instant::now() + patience;
    let left = || by.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
    let client = Client::start(options, &Living::default())?;
    client.wait_for_broker(by)?;
    let failed = |error: ClientError| not_readable(&error, topic, client.context().complaint());
    let asked = client.native().client();
    let metadata = asked.fetch_metadata(Some(topic), left()).map_err(failed)?;
    let found = metadata.topics().iter().find(|found| found.name() == topic);
    let found = found.ok_or_else(|| KafkaError::NoTopic(topic.to_owned()))?;
    if let Some(code) = found.error() {
        return Err(failed(ClientError::MetadataFetch(code.into())));
    }
    let mut partitions = TopicPartitionList::new();
    for partition in found.partitions() {
        // `Offset::End` would be looked up later, and miss what arrives meanwhile.
        let (_, end) = asked.fetch_watermarks(topic, partition.id(), left()).map_err(failed)?;
        let added = partitions.add_partition_offset(topic, partition.id(), Offset::Offset(end));
        added.map_err(failed)?;
    }
    let consumer = consumer(options.clone())?;
    consumer.assign(&partitions).map_err(failed)?;
    Ok(consumer)
}

fn consumer(mut options: ClientConfig) -> Result<Consumer, KafkaError> {
    // librdkafka wants the name of a group to assign partitions, though none is joined.
    options.set("group.id", "outbox-tail").set("enable.auto.commit", "false");
    options.set("isolation.level", "read_committed");
    Consumer::from_config_and_context(&options, Listener).map_err(options::refused)
}

fn not_readable(error: &ClientError, topic: &str, why: Complaint) -> KafkaError {
    match error.rdkafka_error_code() {
        Some(code) if is_missing_topic(code) => KafkaError::NoTopic(topic.to_owned()),
        Some(Code::TopicAuthorizationFailed | Code::Authentication | Code::SSL) => {
            KafkaError::Refused(error.to_string())
        }
        Some(Code::BrokerTransportFailure | Code::AllBrokersDown | Code::OperationTimedOut) => {
            why.into()
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
