//! Publishers by URL, and what reads behind them.

use std::error::Error as StdError;
use std::str::FromStr;
use std::sync::Arc;

use futures::future::BoxFuture;
use outbox_core::broker::Tail;
use outbox_core::relay::DestinationSpec;
use outbox_core::{Publisher, Reason};

use crate::scheme::{Scheme, find, with_feature};
use crate::{Error, redact};

/// Makes the publisher that `url` names, and looks whether it can publish.
///
/// | URL | feature | publishes |
/// |---|---|---|
/// | `kafka://HOST:9092,HOST…`, `kafkas://…` | `kafka` | to Kafka topics |
/// | `nats://HOST:4222,HOST…`, `tls://…` | `nats` | to NATS JetStream subjects |
/// | `amqp://USER:PASSWORD@HOST/VHOST`, `amqps://…` | `rabbitmq` | to RabbitMQ queues or an exchange |
/// | `sqs://REGION`, `sqs://HOST:PORT?region=…` | `sqs` | to SQS queues, standard and FIFO |
/// | `redis://HOST:6379/DB`, `rediss://…` | `redis` | to Redis streams |
/// | `redis-cluster://HOST:6379,HOST…`, `rediss-cluster://…` | `redis` | to those of a Redis cluster |
/// | `stdout:` | `file` | JSON lines to standard output |
/// | `file:PATH`, `file:PATH?sync=false` | `file` | JSON lines to the end of a file |
///
/// What comes behind `?` sets the fields of the adapter's configuration by name; each adapter's
/// `…Config` has a table of them. `destination` is common to all brokers: a template in which
/// `{topic}` stands for the message's topic.
pub async fn connect_publisher(url: &str) -> Result<Arc<dyn Publisher>, Error> {
    (plan(url)?.connect)().await
}

/// What is known of a publisher before it is connected, and how that is done.
pub(crate) struct Plan {
    /// What it declares once it is.
    pub(crate) spec: DestinationSpec,
    pub(crate) connect: Box<dyn Fn() -> Connecting + Send + Sync>,
}

pub(crate) type Connecting = BoxFuture<'static, Result<Arc<dyn Publisher>, Error>>;

pub(crate) fn plan(url: &str) -> Result<Plan, Error> {
    (find("publisher", TABLE.iter().copied(), url)?.plan)(url)
}

/// Reads what arrives at the destination of `topic` from now on, for people who look and for
/// tests: see [`Tail`]. Every broker has one, files don't.
pub async fn connect_tail(url: &str, topic: &str) -> Result<Box<dyn Tail>, Error> {
    let brokers = TABLE.iter().filter(|entry| entry.feature != "file");
    let tails = brokers.map(|&Scheme { names, feature, adapter }| {
        let adapter = adapter.and_then(|adapter| adapter.tail);
        Scheme { names, feature, adapter }
    });
    find("broker", tails, url)?(url, topic).await
}

#[derive(Clone, Copy)]
struct Adapter {
    plan: fn(&str) -> Result<Plan, Error>,
    tail: Option<ConnectTail>,
}

type ConnectTail = for<'a> fn(&'a str, &'a str) -> BoxFuture<'a, Result<Box<dyn Tail>, Error>>;

const TABLE: &[Scheme<Adapter>] = &[
    Scheme {
        names: &["kafka", "kafkas"],
        feature: "kafka",
        adapter: with_feature!("kafka", kafka::ADAPTER),
    },
    Scheme {
        names: &["nats", "tls"],
        feature: "nats",
        adapter: with_feature!("nats", nats::ADAPTER),
    },
    Scheme {
        names: &["amqp", "amqps"],
        feature: "rabbitmq",
        adapter: with_feature!("rabbitmq", rabbitmq::ADAPTER),
    },
    Scheme { names: &["sqs"], feature: "sqs", adapter: with_feature!("sqs", sqs::ADAPTER) },
    Scheme {
        names: &["redis", "rediss", "redis-cluster", "rediss-cluster"],
        feature: "redis",
        adapter: with_feature!("redis", redis::ADAPTER),
    },
    Scheme { names: &["stdout"], feature: "file", adapter: with_feature!("file", file::ADAPTER) },
    Scheme { names: &["file"], feature: "file", adapter: with_feature!("file", file::ADAPTER) },
];

/// Adapters have the same shape, but no type that one could be generic over.
macro_rules! adapter {
    (
        $feature:literal, $module:ident, $spec:expr, $config:path, $publisher:path
        $(, $tail:path)?
    ) => {
        #[cfg(feature = $feature)]
        mod $module {
            use super::*;

            pub(super) const ADAPTER: Adapter = Adapter { plan, tail: adapter!(@tail $($tail)?) };

            fn plan(url: &str) -> Result<Plan, Error> {
                let config: $config = config(url)?;
                let spec: fn(&$config) -> DestinationSpec = $spec;
                let (spec, shown) = (spec(&config), redact(url));
                let connect = move || -> Connecting {
                    let (config, url) = (config.clone(), shown.clone());
                    Box::pin(async move {
                        let publisher = <$publisher>::connect(config).await;
                        Ok(Arc::new(publisher.map_err(adapter!(@refused url))?) as _)
                    })
                };
                Ok(Plan { spec, connect: Box::new(connect) })
            }

            $(fn tail<'a>(
                url: &'a str,
                topic: &'a str,
            ) -> BoxFuture<'a, Result<Box<dyn Tail>, Error>> {
                Box::pin(async move {
                    let config: $config = config(url)?;
                    let tail = <$tail>::connect(config, topic).await;
                    Ok(Box::new(tail.map_err(adapter!(@refused redact(url)))?) as _)
                })
            })?
        }
    };
    (@tail $tail:path) => { Some(tail) };
    (@tail) => { None };
    (@refused $url:expr) => {
        |error| Error::Publisher {
            url: $url,
            retryable: error.is_retryable(),
            source: error.into(),
        }
    };
}

adapter!(
    "kafka",
    kafka,
    |config| {
        use outbox_core::{BatchLimits, Ordering};

        let prefix = config.transactional_id.is_some();
        let ordering = if prefix { Ordering::PrefixPerKey } else { Ordering::Independent };
        let limits = BatchLimits { messages: 2_000, bytes: 8 * 1024 * 1024 };
        DestinationSpec { ordering, limits }
    },
    outbox_kafka::KafkaConfig,
    outbox_kafka::KafkaPublisher,
    outbox_kafka::KafkaTail
);
adapter!(
    "nats",
    nats,
    |_| DestinationSpec::default(),
    outbox_nats::NatsConfig,
    outbox_nats::NatsPublisher,
    outbox_nats::NatsTail
);
adapter!(
    "rabbitmq",
    rabbitmq,
    |_| DestinationSpec::default(),
    outbox_rabbitmq::RabbitMqConfig,
    outbox_rabbitmq::RabbitMqPublisher,
    outbox_rabbitmq::RabbitMqTail
);
adapter!(
    "sqs",
    sqs,
    |config| {
        let (requests, bytes) = (config.concurrency, config.max_bytes);
        let limits = outbox_core::BatchLimits { messages: requests * 10, bytes: requests * bytes };
        DestinationSpec { limits, ..DestinationSpec::default() }
    },
    outbox_sqs::SqsConfig,
    outbox_sqs::SqsPublisher,
    outbox_sqs::SqsTail
);
adapter!(
    "redis",
    redis,
    |_| DestinationSpec::default(),
    outbox_redis::RedisConfig,
    outbox_redis::RedisPublisher,
    outbox_redis::RedisTail
);
adapter!(
    "file",
    file,
    |_| {
        let ordering = outbox_core::Ordering::PrefixPerKey;
        DestinationSpec { ordering, ..DestinationSpec::default() }
    },
    outbox_file::FileConfig,
    outbox_file::FilePublisher
);

#[allow(dead_code, reason = "without any adapter nothing is read")]
fn config<C: FromStr<Err: StdError>>(url: &str) -> Result<C, Error> {
    let problem = |error: C::Err| Reason::of(&error).to_string();
    url.parse().map_err(|error| Error::Url { url: redact(url), problem: problem(error) })
}
