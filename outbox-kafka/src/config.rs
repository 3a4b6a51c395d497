//! Where and how to publish, from a URL or a configuration file.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use outbox_core::broker::{BrokerUrl, Destinations, InvalidUrl};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::KafkaError;

/// Where and how to publish.
///
/// From a URL: `kafka://user:password@host:9092,other:9092?option=value`; `kafkas://` asks for TLS.
/// The options are the fields below, by their names. An option with a dot in its name is one of
/// librdkafka's, and handed on to it.
///
/// | option | default | |
/// |---|---|---|
/// | `servers` | from the URL | `host:port` of some brokers, port 9092 if there is none |
/// | `user`, `password` | from the URL | for SASL |
/// | `sasl_mechanism` | `plain` | or `scram-sha-256`, `scram-sha-512` |
/// | `tls` | `false` | TLS is used; `kafkas://` sets it |
/// | `ca` | the system's | path of the certificates (PEM) that sign the brokers' |
/// | `certificate`, `certificate_key` | | paths of the client's certificate and its key (PEM) |
/// | `client_id` | `outbox` | how brokers name this client in their logs and quotas |
/// | `destination` | `{topic}` | the Kafka topic of a topic |
/// | `transactional_id` | | one Kafka transaction per batch, see the [crate](crate#ordering) |
/// | `fence` | | former owners of a partition are refused, see the [crate](crate#fencing) |
/// | `transaction_timeout_ms` | 60000 | after which a broker gives up a transaction left open |
/// | `compression` | `none` | or `gzip`, `snappy`, `lz4`, `zstd` |
/// | `partitioner` | `murmur2_random` | as the Java client's; or another of librdkafka's |
/// | `linger_ms` | 0 | how long a request waits for more messages |
/// | `max_message_bytes` | 1048527 | the largest record; what brokers take by default |
/// | `connections` | 4 | calls that go on at once, each with a producer of its own |
/// | `connect_timeout_ms` | 5000 | for connecting, and for an answer to `check` |
/// | `topic_wait_ms` | 2000 | how long an unknown topic is waited for, the first time |
/// | `create_topics` | `false` | unknown topics are created |
/// | `partitions`, `replication` | the brokers' | of a created topic |
/// | `librdkafka` | | a table of librdkafka's options; in a URL those with a dot |
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    /// `host:port` of some of the brokers; the others are found through them.
    pub servers: Vec<String>,
    /// The user, for SASL.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<SecretString>,
    /// How user and password are shown to the broker. Tokens (`OAUTHBEARER`) can't be.
    #[serde(default)]
    pub sasl_mechanism: SaslMechanism,
    /// Whether TLS is used.
    #[serde(default)]
    pub tls: bool,
    /// Certificates (PEM) that sign the brokers'; the system's if there is none.
    pub ca: Option<PathBuf>,
    /// The client's certificate (PEM).
    pub certificate: Option<PathBuf>,
    /// The key of the client's certificate (PEM).
    pub certificate_key: Option<PathBuf>,
    /// How brokers name this client in their logs and quotas.
    #[serde(default = "client_id")]
    pub client_id: String,
    /// The Kafka topic of a topic.
    #[serde(default)]
    pub destination: Destinations,
    /// What the transactional ids begin with. Several relays may have the same: a number of the
    /// process and of the connection follows. If there is none, no transactions are used.
    pub transactional_id: Option<String>,
    /// What refuses messages of a relay that has lost their partition: the name of a topic, which
    /// stays empty. Transactional ids and groups begin with it. No other outbox has the same.
    pub fence: Option<String>,
    /// After which time a broker gives up a transaction that a killed relay left open, in
    /// milliseconds. Consumers that read what is committed wait for it that long.
    #[serde(default = "transaction_timeout_ms")]
    pub transaction_timeout_ms: u32,
    /// How batches are compressed.
    #[serde(default)]
    pub compression: Compression,
    /// Which partition of its topic a message goes to.
    #[serde(default)]
    pub partitioner: Partitioner,
    /// How long a request waits for more messages, in milliseconds.
    #[serde(default)]
    pub linger_ms: u32,
    /// The largest record, in bytes, headers and overhead included. A larger one is rejected. It
    /// should be 61 bytes below the smallest `max.message.bytes` of the topics.
    #[serde(default = "max_message_bytes")]
    pub max_message_bytes: u32,
    /// How many calls go on at once.
    #[serde(default = "connections")]
    pub connections: usize,
    /// For connecting to a broker and for its answer to `check`, in milliseconds.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// How long the first message of an unknown topic waits for it to appear, in milliseconds.
    #[serde(default = "topic_wait_ms")]
    pub topic_wait_ms: u64,
    /// Whether unknown topics are created.
    #[serde(default)]
    pub create_topics: bool,
    /// Partitions of a created topic; the brokers' default if there is none.
    pub partitions: Option<u16>,
    /// Replicas of a created topic; the brokers' default if there is none.
    pub replication: Option<u16>,
    /// Options of librdkafka, but for those that this adapter sets. Their values may be secret.
    #[serde(default)]
    pub librdkafka: BTreeMap<String, SecretString>,
}

/// How user and password are shown to a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SaslMechanism {
    /// As they are, which TLS should hide.
    #[default]
    Plain,
    /// By challenge and response with SHA-256.
    #[serde(rename = "scram-sha-256")]
    ScramSha256,
    /// By challenge and response with SHA-512.
    #[serde(rename = "scram-sha-512")]
    ScramSha512,
}

/// How batches are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compression {
    /// Not at all.
    #[default]
    None,
    /// By zlib.
    Gzip,
    /// By Snappy.
    Snappy,
    /// By LZ4.
    Lz4,
    /// By Zstandard.
    Zstd,
}

/// Which partition of its topic a message goes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Partitioner {
    /// Murmur2 of the key, any partition without one: what the Java client does.
    #[default]
    Murmur2Random,
    /// Murmur2 of the key; all without one in the same partition.
    Murmur2,
    /// CRC32 of the key, any partition without one: librdkafka's own default.
    ConsistentRandom,
    /// CRC32 of the key; all without one in the same partition.
    Consistent,
    /// FNV-1a of the key, any partition without one: what Sarama does.
    #[serde(rename = "fnv1a_random")]
    Fnv1aRandom,
    /// FNV-1a of the key; all without one in the same partition.
    #[serde(rename = "fnv1a")]
    Fnv1a,
}

/// Each has threads of its own.
const MOST_CONNECTIONS: usize = 1_000;

impl KafkaConfig {
    /// To these servers, with everything else as it is by default.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            user: None,
            password: None,
            sasl_mechanism: SaslMechanism::default(),
            tls: false,
            ca: None,
            certificate: None,
            certificate_key: None,
            client_id: client_id(),
            destination: Destinations::default(),
            transactional_id: None,
            fence: None,
            transaction_timeout_ms: transaction_timeout_ms(),
            compression: Compression::default(),
            partitioner: Partitioner::default(),
            linger_ms: 0,
            max_message_bytes: max_message_bytes(),
            connections: connections(),
            connect_timeout_ms: connect_timeout_ms(),
            topic_wait_ms: topic_wait_ms(),
            create_topics: false,
            partitions: None,
            replication: None,
            librdkafka: BTreeMap::new(),
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// Says what no connection could be made with.
    pub(crate) fn check(&self) -> Result<(), KafkaError> {
        let problem = if self.servers.is_empty() {
            "the option `servers` names no server"
        } else if self.servers.iter().any(|server| server.contains(['@', '/', ','])) {
            // One that was given with its account would smuggle a secret into error texts.
            "`servers` are `host:port`, without an account"
        } else if self.user.is_some() != self.password.is_some() {
            "the options `user` and `password` need each other"
        } else if self.certificate.is_some() != self.certificate_key.is_some() {
            "the options `certificate` and `certificate_key` need each other"
        } else if !self.tls && (self.ca.is_some() || self.certificate.is_some()) {
            "the options `ca` and `certificate` need TLS: `kafkas://`, or `tls = true`"
        } else if !(1..=MOST_CONNECTIONS).contains(&self.connections) {
            "the option `connections` is between 1 and 1000"
        } else if self.transactional_id.as_deref() == Some("") {
            "the option `transactional_id` is empty"
        } else if self.fence.is_some() && self.transactional_id.is_some() {
            "the options `fence` and `transactional_id` exclude each other: \
             a fence has transactions of its own"
        } else if self.fence.as_deref().is_some_and(|name| !is_a_topic(name)) {
            "the option `fence` is the name of a topic: letters, digits, `.`, `_` and `-`"
        } else if !self.create_topics && (self.partitions.is_some() || self.replication.is_some()) {
            "the options `partitions` and `replication` need `create_topics`"
        } else {
            return Ok(());
        };
        Err(KafkaError::Config(problem))
    }
}

impl FromStr for KafkaConfig {
    type Err = KafkaError;

    fn from_str(url: &str) -> Result<Self, KafkaError> {
        let mut url = BrokerUrl::parse(url, &["kafka", "kafkas"])?;
        if !url.path.is_empty() {
            let problem = "nothing follows the hosts: topics are mapped by `destination`";
            return Err(InvalidUrl::new(problem).into());
        }
        let raw = url.take_options(|name| name.contains('.'))?;
        let servers = url.hosts_with_port(9092)?;
        let mut parts: Vec<_> = servers.iter().map(|host| ("servers", host.as_str())).collect();
        parts.extend(url.user.as_deref().map(|user| ("user", user)));
        parts.extend(url.password.as_deref().map(|password| ("password", password)));
        if url.scheme == "kafkas" {
            parts.push(("tls", "true"));
        }
        let mut config: Self = url.config(&parts)?;
        config.librdkafka.extend(raw.into_iter().map(|(name, value)| (name, value.into())));
        config.check()?;
        crate::options::check(config.librdkafka.keys())?;
        Ok(config)
    }
}

/// Whether a topic can have that name.
fn is_a_topic(name: &str) -> bool {
    let is_fit = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=249).contains(&name.len()) && ![".", ".."].contains(&name) && name.bytes().all(is_fit)
}

/// For librdkafka alone.
pub(crate) fn exposed(secret: &SecretString) -> &str {
    secret.expose_secret()
}

fn client_id() -> String {
    "outbox".to_owned()
}

fn transaction_timeout_ms() -> u32 {
    60_000
}

/// A broker takes batches of 1,048,588 bytes by default, and the head of a batch has 61.
fn max_message_bytes() -> u32 {
    1_048_527
}

fn connections() -> usize {
    4
}

fn connect_timeout_ms() -> u64 {
    5_000
}

fn topic_wait_ms() -> u64 {
    2_000
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Result<KafkaConfig, String> {
        url.parse().map_err(|error: KafkaError| outbox_core::Reason::of(&error).to_string())
    }

    #[test]
    fn urls() {
        let config = parse(
            "kafkas://alice:s3cret%2F@one,two:9093/?ca=/etc/ca.pem&destination=prod.{topic}\
             &transactional_id=shop&create_topics=true&partitions=6&connections=2\
             &socket.keepalive.enable=true&ssl.key.password=p%26w",
        )
        .unwrap();
        assert_eq!(config.servers, ["one:9092", "two:9093"]);
        assert!(config.tls);
        assert_eq!(config.user.as_deref(), Some("alice"));
        assert_eq!(config.password.as_ref().map(exposed), Some("s3cret/"));
        assert_eq!(config.ca, Some(PathBuf::from("/etc/ca.pem")));
        assert_eq!(config.destination.of("orders").unwrap(), "prod.orders");
        assert_eq!(config.transactional_id.as_deref(), Some("shop"));
        assert_eq!((config.create_topics, config.partitions), (true, Some(6)));
        assert_eq!(config.connections, 2);
        assert_eq!(exposed(&config.librdkafka["socket.keepalive.enable"]), "true");
        assert_eq!(exposed(&config.librdkafka["ssl.key.password"]), "p&w");
        let plain = parse("kafka://one").unwrap();
        assert!(!plain.tls && plain.user.is_none() && plain.librdkafka.is_empty());
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is() {
        for (url, says) in [
            ("kafka://", "it names no host"),
            ("kafka://h/orders", "nothing follows the hosts"),
            ("kafka://h?acks=1", "unknown field `acks`"),
            ("kafka://h?request.required.acks=1", "`request.required.acks` can't be set"),
            ("kafka://h?enable.idempotence=false", "`enable.idempotence` can't be set"),
            ("kafka://h?sasl.password=canary", "`sasl.password` can't be set: use `password`"),
            ("kafka://h?a.b=canary&a.b=1", "the option `a.b` is there twice"),
            ("kafka://canary@h", "`user` and `password` need each other"),
            ("kafka://h?certificate=a", "`certificate` and `certificate_key` need each other"),
            ("kafka://h?ca=a", "need TLS"),
            ("kafka://h?connections=0", "`connections` is between 1 and 1000"),
            ("kafka://h?partitions=3", "need `create_topics`"),
            ("kafka://h?compression=canary.", "option `compression`"),
            ("kafka://h?transactional_id=", "`transactional_id` is empty"),
            ("kafka://h?fence=", "`fence` is the name of a topic"),
            ("kafka://h?fence=an%20other", "`fence` is the name of a topic"),
            ("kafka://h?fence=a&transactional_id=b", "exclude each other"),
        ] {
            let error = parse(url).unwrap_err();
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("canary") || url.contains("canary."), "{error}");
        }
    }

    #[test]
    fn configuration_files() {
        let config: KafkaConfig = serde_json::from_str(
            r#"{"servers": ["h:9092"], "user": "u", "password": "canary",
                "sasl_mechanism": "scram-sha-256", "partitioner": "murmur2",
                "librdkafka": {"ssl.key.password": "canary"}}"#,
        )
        .unwrap();
        assert_eq!(config.sasl_mechanism, SaslMechanism::ScramSha256);
        assert_eq!(config.partitioner, Partitioner::Murmur2);
        let shown = format!("{config:?}");
        assert!(shown.contains("ssl.key.password") && !shown.contains("canary"), "{shown}");
        assert!(serde_json::from_str::<KafkaConfig>(r#"{"servers": [], "acks": 1}"#).is_err());
    }
}
