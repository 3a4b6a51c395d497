//! The register of epochs: under which one a partition of the outbox was claimed last. The broker
//! keeps it, as the offset of a consumer group that nobody is in.
//!
//! An offset can be committed in a transaction, so that only the producer which is the newest of
//! its transactional id can write it. And it can be read so that one which is being committed is
//! waited for; brokers before Kafka 2.5 can't do that, and would answer with the one before.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use outbox_core::Epoch;
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError as ClientError;
use rdkafka::producer::Producer as _;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::client::{self, Client};
use crate::outcome::is_missing_topic;
use crate::threads::{DropsAside, Life, Living};
use crate::{KafkaError, options};

/// The register of one partition of the outbox.
pub(crate) struct Register {
    consumer: DropsAside<BaseConsumer<Listener>>,
    topic: String,
    group: String,
}

impl Register {
    /// Looks whether there is the topic whose offset it is. Blocks.
    pub(crate) fn open(
        mut options: ClientConfig,
        topic: &str,
        group: &str,
        by: Instant,
        living: &Living,
    ) -> Result<Self, KafkaError> {
        options.set("group.id", group).set("enable.auto.commit", "false");
        options.set("isolation.level", "read_committed");
        // What a broker can do, librdkafka says only there.
        options.set("debug", "feature").set_log_level(RDKafkaLogLevel::Debug);
        let listener = Listener::new(living.one_more());
        let consumer = BaseConsumer::from_config_and_context(&options, listener);
        let consumer = DropsAside::new(consumer.map_err(options::refused)?);
        let register = Self { consumer, topic: topic.to_owned(), group: group.to_owned() };
        let metadata = register.consumer.fetch_metadata(Some(topic), left(by));
        let metadata = metadata.map_err(|error| register.failed(&error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.map(|found| found.error().map(Code::from)) {
            Some(None) => Ok(register),
            Some(Some(code)) => Err(register.failed(&ClientError::MetadataFetch(code))),
            None => Err(KafkaError::NoTopic(topic.to_owned())),
        }
    }

    /// The epoch of the last claim. One that is being made is waited for. Blocks.
    pub(crate) fn read(&self, by: Instant) -> Result<Option<Epoch>, KafkaError> {
        let asked = self.place(Offset::Invalid);
        let answer = self.consumer.committed_offsets(asked, left(by));
        let answer = answer.map_err(|error| self.failed(&error))?;
        let place = answer.find_partition(&self.topic, PLACE).expect("it was asked for");
        place.error().map_err(|error| self.failed(&error))?;
        // What librdkafka has said before the answer only gets here by this.
        let now = Instant::now();
        let until = by.clamp(now + FEW_WORDS, now + LAST_WORDS);
        while self.consumer.context().seen().version.is_none() && Instant::now() < until {
            self.consumer.poll(Duration::from_millis(1));
        }
        self.consumer.context().waits_for_commits()?;
        match place.offset() {
            Offset::Offset(epoch) => Ok(Some(Epoch(epoch))),
            _ => Ok(None),
        }
    }

    /// Writes `epoch`, in a transaction. Blocks.
    pub(crate) fn write(
        &self,
        client: &mut Client,
        epoch: Epoch,
        by: Instant,
    ) -> Result<(), ClientError> {
        let group = self.consumer.group_metadata().expect("it has a group");
        client.begin_transaction()?;
        let claimed = self.place(Offset::Offset(epoch.0));
        client.native().send_offsets_to_transaction(&claimed, &group, left(by))?;
        client.commit_transaction(left(by))
    }

    fn place(&self, offset: Offset) -> TopicPartitionList {
        let mut place = TopicPartitionList::new();
        let added = place.add_partition_offset(&self.topic, PLACE, offset);
        added.expect("it is a valid offset");
        place
    }

    fn failed(&self, error: &ClientError) -> KafkaError {
        match error.rdkafka_error_code() {
            Some(code) if is_missing_topic(code) => KafkaError::NoTopic(self.topic.clone()),
            Some(Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed) => {
                let (topic, group) = (&self.topic, &self.group);
                let error = format!("{error}: the topic `{topic}`, the group `{group}`");
                KafkaError::Refused(error)
            }
            _ => {
                let complaint = self.consumer.context().seen().complaint.clone();
                KafkaError::Unreachable(complaint.unwrap_or_else(|| error.to_string()))
            }
        }
    }
}

/// What librdkafka calls of the consumer.
struct Listener {
    seen: Mutex<Seen>,
    /// Ends after librdkafka's threads have.
    _life: Life,
}

/// What it has said.
#[derive(Default)]
struct Seen {
    complaint: Option<String>,
    /// The newest version of the request for offsets that whoever was asked takes.
    version: Option<u16>,
}

impl Listener {
    fn new(life: Life) -> Self {
        Self { seen: Mutex::default(), _life: life }
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the broker does, if it has told.
    fn waits_for_commits(&self) -> Result<(), KafkaError> {
        match self.seen().version {
            Some(version) if version >= WAITS_FOR_COMMITS => Ok(()),
            Some(_) => Err(KafkaError::TooOld),
            None => Err(KafkaError::Unreachable(UNTOLD.into())),
        }
    }
}

impl ClientContext for Listener {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, text: &str) {
        let asked = text.strip_prefix(COORDINATOR).and_then(|text| text.split_once(OFFSETS));
        if let Some((_, versions)) = asked {
            let newest = versions.rsplit("..").next().and_then(|newest| newest.parse().ok());
            let mut seen = self.seen();
            seen.version = Some(newest.unwrap_or(0).min(seen.version.unwrap_or(u16::MAX)));
        }
        if facility == "FAIL" {
            self.seen().complaint = Some(text.to_owned());
        }
        if !matches!(level, RDKafkaLogLevel::Debug) {
            client::log(level, facility, text);
        }
    }
}

impl ConsumerContext for Listener {}

/// How long is waited for what has been said.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// The same, if there is no time: it has been said before the answer, and only has to be read.
const FEW_WORDS: Duration = Duration::from_millis(50);

const UNTOLD: &str = "the coordinator doesn't say which versions of requests it takes";

/// Any partition will do, and this one every topic has.
const PLACE: i32 = 0;

/// How librdkafka begins to speak of the connection on which it asks for offsets.
const COORDINATOR: &str = "[thrd:GroupCoordinator]";

/// How it begins to say which versions of that request a broker takes.
const OFFSETS: &str = "ApiKey OffsetFetch (9) Versions ";

/// The version of it that waits for what is being committed, since Kafka 2.5.
const WAITS_FOR_COMMITS: u16 = 7;

fn left(by: Instant) -> Duration {
    by.saturating_duration_since(Instant::now()).max(Duration::from_millis(1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seen to be said to be too old, of a broker that hadn't told yet.
    #[test]
    fn who_is_asked_for_offsets_must_wait_for_commits() {
        let listener = Listener::new(Living::default().one_more());
        let text = format!("[thrd:h:9092/2]: h:9092/2:   {OFFSETS}0..9");
        listener.log(RDKafkaLogLevel::Debug, "APIVERSION", &text);
        let hear = |versions: &str| {
            let text = format!("{COORDINATOR}: GroupCoordinator/1:   {OFFSETS}{versions}");
            listener.log(RDKafkaLogLevel::Debug, "APIVERSION", &text);
            listener.waits_for_commits()
        };
        let untold = listener.waits_for_commits().unwrap_err();
        assert!(untold.is_retryable(), "the one that matters has not told: {untold}");
        for versions in ["0..9", "1..7"] {
            hear(versions).unwrap();
        }
        for versions in ["0..6", "0..9"] {
            let error = hear(versions).unwrap_err();
            assert!(matches!(error, KafkaError::TooOld), "{error}");
        }
    }

    /// So that closing a publisher waits for it.
    #[tokio::test]
    async fn a_register_that_is_open_is_counted() {
        let living = Living::default();
        let opening = tokio::task::spawn_blocking({
            let living = living.clone();
            move || {
                let mut options = ClientConfig::new();
                options.set("bootstrap.servers", "127.0.0.1:1");
                let by = Instant::now() + Duration::from_secs(1);
                Register::open(options, "fence", "fence-0", by, &living).err().unwrap()
            }
        });
        tokio::time::sleep(Duration::from_millis(500)).await;
        assert!(!living.end(Duration::ZERO).await, "it is still there");
        let error = opening.await.unwrap();
        assert!(matches!(error, KafkaError::Unreachable(_)), "{error}");
        assert!(living.end(Duration::from_secs(10)).await, "it is there for ever");
    }
}
