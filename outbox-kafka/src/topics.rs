//! Which topics there are. librdkafka lets messages of an unknown topic wait, and an unfortunate
//! broker creates it; so topics are looked up before their first message.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use outbox_core::{Outcome, Reason};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode as Code;

use crate::client::Client;
use crate::outcome::is_missing_topic;
use crate::pool::on_thread;
use crate::{KafkaConfig, KafkaError, options};

pub(crate) struct Topics {
    /// Asks, and never produces.
    client: Arc<Client>,
    seen: Mutex<HashMap<String, bool>>,
    config: KafkaConfig,
}

impl Topics {
    /// Checks the options, and connects in the background.
    pub(crate) fn start(config: &KafkaConfig) -> Result<Self, KafkaError> {
        let client = Arc::new(Client::start(&options::connection(config))?);
        Ok(Self { client, seen: Mutex::default(), config: config.clone() })
    }

    /// Says what becomes of messages to `topic` if they can't be sent: it doesn't exist, or nobody
    /// can say.
    pub(crate) async fn look_up(&self, topic: &str, by: Instant) -> Result<(), Outcome> {
        let seen = self.seen().get(topic).copied();
        if seen == Some(true) {
            return Ok(());
        }
        // A topic that was just created takes a moment to be known everywhere. Whoever has waited
        // for it in vain doesn't wait again.
        let patience = if seen.is_none() { self.patience() } else { Duration::ZERO };
        let mut until = by.min(Instant::now() + patience);
        let mut create = self.config.create_topics;
        loop {
            let code = self.ask(topic, by).await?;
            match code {
                None => {
                    self.seen().insert(topic.to_owned(), true);
                    return Ok(());
                }
                Some(Code::InvalidTopic) => return Err(Outcome::Rejected(unusable(topic))),
                Some(code) if is_missing_topic(code) && std::mem::take(&mut create) => {
                    self.create(topic, by).await?;
                    until = by.min(Instant::now() + self.patience());
                }
                Some(code) if is_missing_topic(code) && Instant::now() >= until => {
                    self.seen().insert(topic.to_owned(), false);
                    return Err(Outcome::Rejected(missing(topic)));
                }
                Some(code) if Instant::now() >= until => {
                    let reason = Reason::new(format!("Kafka: the topic `{topic}`: {code}"));
                    return Err(Outcome::Unavailable(reason));
                }
                Some(_) => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// The topic may have gone: it is looked up again before the next message.
    pub(crate) fn forget(&self, topic: &str) {
        self.seen().remove(topic);
    }

    /// Whether a broker answers now.
    pub(crate) async fn check(&self) -> Result<(), Reason> {
        let by = Instant::now() + self.config.connect_timeout();
        let topic = self.seen().keys().next().cloned();
        match self.ask(topic.as_deref().unwrap_or(ANY), by).await {
            Ok(_) => Ok(()),
            Err(Outcome::Unavailable(reason)) => Err(reason),
            Err(_) => unreachable!("asking fails only if the broker doesn't answer"),
        }
    }

    /// What a broker says of a topic.
    async fn ask(&self, topic: &str, by: Instant) -> Result<Option<Code>, Outcome> {
        let patience = by.saturating_duration_since(Instant::now());
        let patience = patience.min(self.config.connect_timeout());
        let client = Arc::clone(&self.client);
        let name = topic.to_owned();
        on_thread(move || {
            let by = Instant::now() + patience;
            client.wait_for_broker(by).map_err(|error| unavailable(&error))?;
            let patience = by.saturating_duration_since(Instant::now());
            let answer = client.native().client().fetch_metadata(Some(&name), patience);
            let answer = answer.map_err(|_| unavailable(&client.context().complaint().into()))?;
            let topic = answer.topics().iter().find(|topic| topic.name() == name);
            Ok(topic.and_then(|topic| topic.error().map(Code::from)))
        })
        .await
    }

    async fn create(&self, topic: &str, by: Instant) -> Result<(), Outcome> {
        let failed = |error: &dyn std::fmt::Display| {
            Outcome::Unavailable(Reason::new(format!(
                "the Kafka topic `{topic}` could not be created: {error}"
            )))
        };
        let options = options::connection(&self.config);
        let admin = on_thread(move || AdminClient::<DefaultClientContext>::from_config(&options));
        let admin = admin.await.map_err(|error| failed(&options::refused(error)))?;
        let patience = by.saturating_duration_since(Instant::now()).max(PAUSE);
        let limits = AdminOptions::new().request_timeout(Some(patience));
        let limits = limits.operation_timeout(Some(patience));
        let partitions = self.config.partitions.map_or(-1, i32::from);
        let replication = self.config.replication.map_or(-1, i32::from);
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
        let created = admin.create_topics([&new], &limits).await;
        // It waits for its threads.
        on_thread(move || drop(admin)).await;
        match created.map_err(|error| failed(&error))?.pop() {
            Some(Err((_, code))) if code != Code::TopicAlreadyExists => Err(failed(&code)),
            _ => Ok(()),
        }
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.config.topic_wait_ms)
    }

    fn seen(&self) -> std::sync::MutexGuard<'_, HashMap<String, bool>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Between two looks for a topic.
const PAUSE: Duration = Duration::from_millis(100);

/// Asked for to see whether anybody answers. It needn't exist.
const ANY: &str = "outbox";

fn unavailable(error: &KafkaError) -> Outcome {
    Outcome::Unavailable(Reason::of(error))
}

fn missing(topic: &str) -> Reason {
    Reason::new(format!(
        "the Kafka topic `{topic}` does not exist: create it, or let this be done by `create_topics=true`"
    ))
}

fn unusable(topic: &str) -> Reason {
    Reason::new(format!("`{topic}` can't be the name of a Kafka topic"))
}
