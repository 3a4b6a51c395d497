//! Which topics there are. librdkafka lets messages of an unknown topic wait, and an unfortunate
//! broker creates it; so topics are looked up before their first message.

use std::collections::HashMap;
use std::mem;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outbox_core::{Outcome, Reason};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;
use rdkafka::producer::Producer;
use rdkafka::types::RDKafkaErrorCode as Code;
use tokio::sync::Semaphore;
use tokio::time::timeout_at;

use crate::client::Client;
use crate::outcome::is_missing_topic;
use crate::threads::{DropsAside, Living, on_thread};
use crate::{KafkaConfig, KafkaError, options};

pub(crate) struct Topics {
    /// Asks, and never produces. None if the last one got no answer: its connection may be dead,
    /// and it remembers a refusal for ever. Locked while one is made, for which others wait.
    client: tokio::sync::Mutex<Option<Arc<Client>>>,
    living: Living,
    seen: Mutex<HashMap<String, State>>,
    /// For as many questions as are asked at once.
    askers: Semaphore,
    config: KafkaConfig,
}

/// What was last heard of a topic.
#[derive(Debug, Clone)]
enum State {
    There,
    Missing,
    /// What its messages are told until then.
    Refused(Outcome, Instant),
}

impl Topics {
    /// Checks the options, and connects in the background.
    pub(crate) async fn start(config: &KafkaConfig, living: Living) -> Result<Self, KafkaError> {
        let topics = Self {
            client: tokio::sync::Mutex::default(),
            living,
            seen: Mutex::default(),
            askers: Semaphore::new(AT_ONCE),
            config: config.clone(),
        };
        topics.client().await?;
        Ok(topics)
    }

    pub(crate) fn has(&self, topic: &str) -> bool {
        matches!(self.seen().get(topic), Some(State::There))
    }

    /// Says what becomes of messages to `topic` if they can't be sent: it doesn't exist, this
    /// client has no right to it, or nobody can say.
    pub(crate) async fn look_up(&self, topic: &str, by: Instant) -> Result<(), Outcome> {
        let seen = self.seen().get(topic).cloned();
        let patience = match seen {
            Some(State::There) => return Ok(()),
            Some(State::Refused(outcome, until)) if Instant::now() < until => return Err(outcome),
            // Whoever has waited for it in vain doesn't wait again.
            Some(State::Missing) => Duration::ZERO,
            // A topic that was just created takes a moment to be known everywhere.
            Some(State::Refused(..)) | None => self.patience(),
        };
        let mut until = by.min(Instant::now() + patience);
        let (mut create, mut created) = (self.config.create_topics, false);
        loop {
            let Some(code) = self.ask(topic, by).await.map_err(|error| unavailable(&error))? else {
                self.seen().insert(topic.to_owned(), State::There);
                return Ok(());
            };
            let is_late = Instant::now() >= until;
            match code {
                Code::InvalidTopic => return Err(Outcome::Rejected(unusable(topic))),
                Code::TopicAuthorizationFailed => {
                    return Err(self.refused(topic, said(topic, code)));
                }
                code if is_missing_topic(code) && mem::take(&mut create) => {
                    self.create(topic, by).await?;
                    created = true;
                    until = by.min(Instant::now() + self.patience());
                }
                // It is there: the broker that was asked lags behind.
                code if is_late && created => return Err(Outcome::Failed(said(topic, code))),
                code if is_late && is_missing_topic(code) => {
                    self.seen().insert(topic.to_owned(), State::Missing);
                    return Err(Outcome::Rejected(missing(topic)));
                }
                code if is_late => return Err(Outcome::Unavailable(said(topic, code))),
                _ => tokio::time::sleep(PAUSE).await,
            }
        }
    }

    /// The topic may have gone: it is looked up again before the next message.
    pub(crate) fn forget(&self, topic: &str) {
        self.seen().remove(topic);
    }

    /// Nothing is sent to the topic for a while, and its messages are told `outcome`: each that is
    /// tried would cost the others a producer, or their transaction.
    pub(crate) fn refuse(&self, topic: &str, outcome: &Outcome) {
        let refused = State::Refused(outcome.clone(), Instant::now() + REMEMBERED);
        self.seen().insert(topic.to_owned(), refused);
    }

    /// Whether a broker answers now.
    pub(crate) async fn check(&self) -> Result<(), Reason> {
        let by = Instant::now() + self.config.connect_timeout();
        let topic = self.seen().keys().next().cloned();
        let answer = self.ask(topic.as_deref().unwrap_or(ANY), by).await;
        answer.map(drop).map_err(|error| Reason::of(&error))
    }

    /// Disconnects, in the background.
    pub(crate) async fn close(&self) {
        drop(self.client.lock().await.take());
    }

    /// What a broker says of a topic. librdkafka knows no deadline that it always keeps: it waits by
    /// the time of day, which may be set.
    async fn ask(&self, topic: &str, by: Instant) -> Result<Option<Code>, KafkaError> {
        let late = || KafkaError::Unreachable("no answer in time".into());
        let permit = timeout_at(by.into(), self.askers.acquire()).await;
        let _permit = permit.map_err(|_| late())?;
        let patience = by.saturating_duration_since(Instant::now());
        let patience = patience.min(self.config.connect_timeout());
        let client = timeout_at(by.into(), self.client()).await.map_err(|_| late())??;
        let (asked, name) = (Arc::clone(&client), topic.to_owned());
        let answer = on_thread(move || fetch(&asked, &name, patience));
        let answer = timeout_at(by.into(), answer).await.unwrap_or_else(|_| Err(late()));
        if answer.is_err() {
            let mut current = self.client.lock().await;
            if current.as_ref().is_some_and(|current| Arc::ptr_eq(current, &client)) {
                *current = None;
            }
        }
        answer
    }

    async fn create(&self, topic: &str, by: Instant) -> Result<(), Outcome> {
        let failed = |error: &dyn std::fmt::Display| {
            Reason::new(format!("the Kafka topic `{topic}` could not be created: {error}"))
        };
        let unavailable = |error: &dyn std::fmt::Display| Outcome::Unavailable(failed(error));
        let options = options::connection(&self.config);
        let admin = on_thread(move || AdminClient::<DefaultClientContext>::from_config(&options));
        let admin = admin.await.map_err(|error| unavailable(&options::refused(error)))?;
        let admin = DropsAside::new(admin);
        let patience = by.saturating_duration_since(Instant::now()).max(PAUSE);
        let limits = AdminOptions::new().request_timeout(Some(patience));
        let limits = limits.operation_timeout(Some(patience));
        let partitions = self.config.partitions.map_or(-1, i32::from);
        let replication = self.config.replication.map_or(-1, i32::from);
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(replication));
        let created = admin.create_topics([&new], &limits).await;
        match created.map_err(|error| unavailable(&error))?.pop() {
            None | Some(Ok(_) | Err((_, Code::TopicAlreadyExists))) => Ok(()),
            Some(Err((_, Code::ThrottlingQuotaExceeded))) => {
                Err(Outcome::Throttled(Duration::from_secs(1)))
            }
            Some(Err((_, Code::RequestTimedOut | Code::NotController))) => {
                Err(unavailable(&"the controller does not answer"))
            }
            Some(Err((_, code))) => Err(self.refused(topic, failed(&code))),
        }
    }

    fn refused(&self, topic: &str, reason: Reason) -> Outcome {
        let outcome = Outcome::Failed(reason);
        self.refuse(topic, &outcome);
        outcome
    }

    fn patience(&self) -> Duration {
        Duration::from_millis(self.config.topic_wait_ms)
    }

    async fn client(&self) -> Result<Arc<Client>, KafkaError> {
        let mut client = self.client.lock().await;
        if let Some(client) = &*client {
            return Ok(Arc::clone(client));
        }
        let (options, living) = (options::connection(&self.config), self.living.clone());
        let new = on_thread(move || Client::start(&options, &living)).await?;
        Ok(Arc::clone(client.insert(Arc::new(new))))
    }

    fn seen(&self) -> MutexGuard<'_, HashMap<String, State>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Asks a broker for what is wrong with a topic. Blocks.
fn fetch(client: &Client, topic: &str, patience: Duration) -> Result<Option<Code>, KafkaError> {
    let by = Instant::now() + patience;
    client.wait_for_broker(by)?;
    let patience = by.saturating_duration_since(Instant::now());
    let answer = client.native().client().fetch_metadata(Some(topic), patience);
    let answer = answer.map_err(|_| client.context().complaint())?;
    let topic = answer.topics().iter().find(|found| found.name() == topic);
    Ok(topic.and_then(|topic| topic.error().map(Code::from)))
}

/// Between two looks for a topic.
const PAUSE: Duration = Duration::from_millis(100);

/// How many topics are looked up at the same time: each takes a thread.
const AT_ONCE: usize = 16;

/// How long a refusal is not questioned.
const REMEMBERED: Duration = Duration::from_secs(5);

/// Asked for to see whether anybody answers. It needn't exist.
const ANY: &str = "outbox";

fn unavailable(error: &KafkaError) -> Outcome {
    Outcome::Unavailable(Reason::of(error))
}

fn said(topic: &str, code: Code) -> Reason {
    Reason::new(format!("Kafka: the topic `{topic}`: {code}"))
}

fn missing(topic: &str) -> Reason {
    Reason::new(format!(
        "the Kafka topic `{topic}` does not exist: create it, or let this be done by `create_topics=true`"
    ))
}

fn unusable(topic: &str) -> Reason {
    Reason::new(format!("`{topic}` can't be the name of a Kafka topic"))
}
