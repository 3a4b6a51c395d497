//! Kafka, by rdkafka's threaded producer.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use async_trait::async_trait;
use outbox_core::Message;
use outbox_core::broker::{CONTENT_TYPE, CREATED_AT, MESSAGE_ID, MESSAGE_TYPE, created_at_micros};
use outbox_kafka::{KafkaConfig, KafkaPublisher};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::{ClientContext, DefaultClientContext};
use rdkafka::error::KafkaResult;
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, Producer, ProducerContext, ThreadedProducer};
use tokio::sync::Notify;

use super::{Bare, Pair};

const PARTITIONS: i32 = 6;

/// For what is waited for that isn't measured.
const PATIENCE: Duration = Duration::from_secs(30);

/// What the adapter is told. With a fence it has transactions, too, and a client of its own for each
/// partition of the outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    Plainly,
    InTransactions,
    Fenced,
}

pub(super) async fn connect(url: &str, writing: Writing) -> Result<Pair> {
    let mut config: KafkaConfig = url.parse()?;
    match writing {
        Writing::Plainly => {}
        Writing::InTransactions => config.transactional_id = Some("bench".to_owned()),
        Writing::Fenced => {
            config.fence = Some("bench-fence".to_owned());
            // The register's topic, if it isn't there.
            config.create_topics = true;
        }
    }
    let mut options = ClientConfig::new();
    options.set("bootstrap.servers", config.servers.join(","));
    let admin = options.create()?;
    options.set("acks", "all").set("enable.idempotence", "true");
    options.set("linger.ms", config.linger_ms.to_string());
    options.set("partitioner", "murmur2_random").set("socket.nagle.disable", "true");
    let bare: Arc<dyn Bare> = if writing == Writing::Plainly {
        Arc::new(Independent { admin, producer: options.create_with_context(Counting)? })
    } else {
        let idle = Mutex::default();
        Arc::new(Transactional { admin, options, id: "bench-bare".to_owned(), idle })
    };
    Ok(Pair { adapter: Arc::new(KafkaPublisher::connect(config).await?), bare })
}

type Sender = ThreadedProducer<Counting>;

/// One producer for all calls.
struct Independent {
    admin: AdminClient<DefaultClientContext>,
    producer: Sender,
}

#[async_trait]
impl Bare for Independent {
    async fn create(&self, name: &str) -> Result<()> {
        create(&self.admin, name).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        remove(&self.admin, name).await
    }

    async fn publish(&self, batch: &[Arc<Message>]) -> Result<()> {
        send(&self.producer, batch).await
    }
}

/// A producer for each call that is under way: it has one transaction at a time.
struct Transactional {
    admin: AdminClient<DefaultClientContext>,
    options: ClientConfig,
    id: String,
    idle: Mutex<Idle>,
}

#[derive(Default)]
struct Idle {
    made: usize,
    producers: Vec<Sender>,
}

impl Transactional {
    async fn producer(&self) -> Result<Sender> {
        let number = {
            let mut idle = self.idle.lock().expect("nobody panics");
            if let Some(producer) = idle.producers.pop() {
                return Ok(producer);
            }
            idle.made += 1;
            idle.made
        };
        let mut options = self.options.clone();
        options.set("transactional.id", format!("{}-{number}", self.id));
        let producer = options.create_with_context::<_, Sender>(Counting)?;
        blocking(move || producer.init_transactions(PATIENCE).map(|()| producer)).await
    }
}

#[async_trait]
impl Bare for Transactional {
    async fn create(&self, name: &str) -> Result<()> {
        create(&self.admin, name).await
    }

    async fn remove(&self, name: &str) -> Result<()> {
        remove(&self.admin, name).await
    }

    /// Committing would wait for the reports, too, but with a sleep that makes it half as fast.
    async fn publish(&self, batch: &[Arc<Message>]) -> Result<()> {
        let producer = self.producer().await?;
        producer.begin_transaction()?;
        send(&producer, batch).await?;
        let committed = move || producer.commit_transaction(PATIENCE).map(|()| producer);
        let producer = blocking(committed).await?;
        self.idle.lock().expect("nobody panics").producers.push(producer);
        Ok(())
    }
}

async fn blocking(work: impl FnOnce() -> KafkaResult<Sender> + Send + 'static) -> Result<Sender> {
    Ok(tokio::task::spawn_blocking(work).await??)
}

/// The reports that a call waits for.
struct Reports {
    missing: AtomicUsize,
    failed: AtomicUsize,
    all: Notify,
}

struct Counting;

impl ClientContext for Counting {}

impl ProducerContext for Counting {
    type DeliveryOpaque = Arc<Reports>;

    fn delivery(&self, result: &DeliveryResult<'_>, reports: Arc<Reports>) {
        reports.failed.fetch_add(usize::from(result.is_err()), Ordering::Relaxed);
        if reports.missing.fetch_sub(1, Ordering::AcqRel) == 1 {
            reports.all.notify_one();
        }
    }
}

/// Sends all, then waits for every report.
async fn send(producer: &Sender, batch: &[Arc<Message>]) -> Result<()> {
    let reports = Arc::new(Reports {
        missing: AtomicUsize::new(batch.len()),
        failed: AtomicUsize::new(0),
        all: Notify::new(),
    });
    for message in batch {
        let sent = producer.send(record(message, Arc::clone(&reports)));
        sent.map_err(|(error, _)| error)?;
    }
    reports.all.notified().await;
    let failed = reports.failed.load(Ordering::Relaxed);
    ensure!(failed == 0, "{failed} messages failed");
    Ok(())
}

type Record<'a> = BaseRecord<'a, str, [u8], Arc<Reports>>;

fn record(message: &Message, reports: Arc<Reports>) -> Record<'_> {
    let id = message.id().to_string();
    let created_at = created_at_micros(message);
    let headers = [
        (MESSAGE_ID, id.as_str()),
        (MESSAGE_TYPE, message.message_type().unwrap_or_default()),
        (CONTENT_TYPE, message.content_type()),
        (CREATED_AT, &created_at.to_string()),
    ];
    let all = OwnedHeaders::new_with_capacity(headers.len());
    let all = headers
        .into_iter()
        .fold(all, |all, (key, value)| all.insert(Header { key, value: Some(value) }));
    BaseRecord::with_opaque_to(message.topic(), reports)
        .key(message.key().unwrap_or_default())
        .payload(message.payload().as_ref())
        .timestamp(i64::try_from(created_at / 1000).unwrap_or(i64::MAX))
        .headers(all)
}

async fn create(admin: &AdminClient<DefaultClientContext>, name: &str) -> Result<()> {
    let topic = NewTopic::new(name, PARTITIONS, TopicReplication::Fixed(1));
    let created = admin.create_topics([&topic], &options()).await?.pop();
    created.context("no answer")?.map_err(|(_, code)| code)?;
    Ok(())
}

async fn remove(admin: &AdminClient<DefaultClientContext>, name: &str) -> Result<()> {
    let removed = admin.delete_topics(&[name], &options()).await?.pop();
    removed.context("no answer")?.map_err(|(_, code)| code)?;
    Ok(())
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}
