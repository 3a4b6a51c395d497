//! Which broker and which destinations, from a URL or a configuration file.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use outbox_core::broker::{BrokerUrl, Destinations};
use secrecy::SecretString;
use serde::Deserialize;

use crate::RabbitMqError;

/// Where and how to publish.
///
/// From a URL: `amqp://USER:PASSWORD@HOST:PORT,HOST:PORT/VHOST?OPTION=VALUE`, `amqps://` for TLS.
/// The path is the virtual host, percent-encoded; without one it is `/`. Options are the fields
/// below that are not in the rest of the URL.
///
/// | option | default | |
/// |---|---|---|
/// | `exchange` | the default exchange | name, template with `{topic}`, or (in a file) table |
/// | `destination` | `{topic}` | routing key; the queue's name with the default exchange |
/// | `declare_queues` | never | `quorum` or `classic`: creates queues that don't exist |
/// | `max_message_bytes` | 16 MiB | larger payloads are rejected |
/// | `heartbeat_ms` | 10000 | in whole seconds; 0 leaves it to the broker |
/// | `connect_timeout_ms` | 10000 | for each host |
/// | `ca_file` | | PEM file with authorities trusted besides Mozilla's |
/// | `cert_file`, `key_file` | | PEM files of the client's certificate |
/// | `external` | `false` | the certificate is the login (SASL `EXTERNAL`) |
///
/// A token (OAuth 2) is given as the password.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RabbitMqConfig {
    /// `host:port`; the first that can be reached is used.
    pub hosts: Vec<String>,
    /// The virtual host.
    #[serde(default = "root")]
    pub vhost: String,
    /// The user.
    #[serde(default = "guest")]
    pub user: String,
    /// The password, or a token.
    #[serde(default = "guest_password")]
    pub password: SecretString,
    /// Whether to use TLS.
    #[serde(default)]
    pub tls: bool,
    /// Certificate authorities to trust besides Mozilla's, in PEM.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// The client's certificate chain, in PEM.
    #[serde(default)]
    pub cert_file: Option<PathBuf>,
    /// The key of the client's certificate, in PEM.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// Whether the client's certificate is the login, instead of user and password. The broker
    /// needs its plugin `rabbitmq_auth_mechanism_ssl` for that.
    #[serde(default)]
    pub external: bool,
    /// The exchange of a topic; without it the default exchange.
    #[serde(default)]
    pub exchange: Option<Destinations>,
    /// The routing key of a topic, which is the name of the queue with the default exchange.
    #[serde(default)]
    pub destination: Destinations,
    /// Creates queues that don't exist, durable and of this type. With the default exchange only.
    #[serde(default)]
    pub declare_queues: Option<QueueType>,
    /// The largest payload that is sent, in bytes. The broker's own limit (`max_message_size`,
    /// 128 MiB before RabbitMQ 4, 16 MiB since) must not be lower: it closes the channel.
    #[serde(default = "max_message_bytes")]
    pub max_message_bytes: usize,
    /// How often both sides show that they are alive, in milliseconds, rounded up to seconds.
    #[serde(default = "ten_seconds")]
    pub heartbeat_ms: u64,
    /// How long connecting to one host may take, in milliseconds.
    #[serde(default = "ten_seconds")]
    pub connect_timeout_ms: u64,
}

/// What kind of queue is created.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum QueueType {
    /// Replicated.
    Quorum,
    /// On one node.
    Classic,
}

impl RabbitMqConfig {
    /// All defaults, to the broker at `host` (`host:port`).
    pub fn new(host: impl Into<String>) -> Self {
        Self {
            hosts: vec![host.into()],
            vhost: root(),
            user: guest(),
            password: guest_password(),
            tls: false,
            ca_file: None,
            cert_file: None,
            key_file: None,
            external: false,
            exchange: None,
            destination: Destinations::default(),
            declare_queues: None,
            max_message_bytes: max_message_bytes(),
            heartbeat_ms: ten_seconds(),
            connect_timeout_ms: ten_seconds(),
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// In seconds.
    pub(crate) fn heartbeat(&self) -> u16 {
        u16::try_from(self.heartbeat_ms.div_ceil(1000)).unwrap_or(u16::MAX)
    }

    pub(crate) fn check(&self) -> Result<(), RabbitMqError> {
        let certificate = self.cert_file.is_some();
        let problem = if self.hosts.is_empty() {
            "it names no host"
        } else if self.declare_queues.is_some() && self.exchange.is_some() {
            "`declare_queues` creates queues for the default exchange: bind your own to `exchange`"
        } else if certificate != self.key_file.is_some() {
            "`cert_file` and `key_file` belong together"
        } else if !self.tls && (certificate || self.ca_file.is_some() || self.external) {
            "certificates need TLS: `amqps://`"
        } else if self.external && !certificate {
            "`external` needs `cert_file` and `key_file`"
        } else {
            return Ok(());
        };
        Err(RabbitMqError::Config(problem))
    }
}

impl FromStr for RabbitMqConfig {
    type Err = RabbitMqError;

    fn from_str(url: &str) -> Result<Self, RabbitMqError> {
        let url = BrokerUrl::parse(url, &["amqp", "amqps"])?;
        let tls = url.scheme == "amqps";
        let hosts = url.hosts_with_port(if tls { 5671 } else { 5672 })?;
        let mut parts: Vec<_> = hosts.iter().map(|host| ("hosts", host.as_str())).collect();
        parts.push(("tls", if tls { "true" } else { "false" }));
        if !url.path.is_empty() {
            parts.push(("vhost", &url.path));
        }
        parts.extend(url.user.as_deref().map(|user| ("user", user)));
        parts.extend(url.password.as_deref().map(|password| ("password", password)));
        let config: Self = url.config(&parts)?;
        config.check()?;
        Ok(config)
    }
}

fn root() -> String {
    "/".to_owned()
}

fn guest() -> String {
    "guest".to_owned()
}

fn guest_password() -> SecretString {
    "guest".into()
}

fn max_message_bytes() -> usize {
    16 * 1024 * 1024
}

fn ten_seconds() -> u64 {
    10_000
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret as _;

    use super::*;

    fn parse(url: &str) -> RabbitMqConfig {
        url.parse().unwrap_or_else(|error| panic!("{url}: {error}"))
    }

    #[test]
    fn urls() {
        let config = parse("amqp://shop:s%2Fcret@one,two:5673/shop?exchange=events&heartbeat_ms=1");
        assert_eq!(config.hosts, ["one:5672", "two:5673"]);
        assert_eq!((config.user.as_str(), config.vhost.as_str()), ("shop", "shop"));
        assert_eq!(config.password.expose_secret(), "s/cret");
        assert_eq!(config.exchange.unwrap().of("orders").unwrap(), "events");
        assert_eq!(config.destination.of("orders").unwrap(), "orders");
        assert!(!config.tls);
        let config = parse("amqps://h/%2f?declare_queues=quorum&max_message_bytes=7&ca_file=/ca");
        assert_eq!((config.hosts, config.vhost), (vec!["h:5671".to_owned()], "/".to_owned()));
        assert_eq!((config.user.as_str(), config.password.expose_secret()), ("guest", "guest"));
        assert_eq!(config.declare_queues, Some(QueueType::Quorum));
        assert!(config.tls);
        assert_eq!(parse("amqp://h").vhost, "/");
        assert_eq!(parse("amqp://h?heartbeat_ms=1500").heartbeat(), 2);
    }

    #[test]
    fn what_is_wrong_is_said_without_secrets() {
        for (url, says) in [
            ("amqp://", "it names no host"),
            ("amqp://u:canary@h?exchang=a", "unknown field `exchang`"),
            ("amqp://u:canary@h?declare_queues=stream", "option `declare_queues`"),
            ("amqp://u:canary@h?declare_queues=quorum&exchange=e", "bind your own"),
            ("amqp://u:canary@h?ca_file=/ca", "certificates need TLS"),
            ("amqps://u:canary@h?cert_file=/c", "belong together"),
            ("amqps://u:canary@h?external=true", "`external` needs"),
            ("amqp://u:canary@h?destination={key}", "only `{topic}`"),
            ("amqp://u:canary@h?user=v", "there twice"),
        ] {
            let error = url.parse::<RabbitMqConfig>().unwrap_err();
            assert!(error.to_string().contains(says), "{url}: {error}");
            assert!(!format!("{error} {error:?}").contains("canary"), "{error}");
            assert!(!error.is_retryable());
        }
        assert!(!format!("{:?}", parse("amqp://u:canary@h")).contains("canary"));
    }

    #[test]
    fn configuration_files() {
        let text = r#"{"hosts": ["h:5672"], "exchange": {"orders": "shop"}, "tls": true}"#;
        let config: RabbitMqConfig = serde_json::from_str(text).unwrap();
        let exchange = config.exchange.unwrap();
        assert_eq!((exchange.of("orders").as_deref(), exchange.of("x")), (Some("shop"), None));
        assert!(serde_json::from_str::<RabbitMqConfig>(r#"{"hosts": [], "host": "h"}"#).is_err());
    }
}
