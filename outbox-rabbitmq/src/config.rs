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
/// | `servers` | from the URL | `host:port` of each, port 5672 (with TLS 5671) if there is none |
/// | `user`, `password` | from the URL | `guest` and `guest` if there is neither |
/// | `vhost` | `/` | from the URL's path |
/// | `tls` | `false` | `amqps://` sets it |
/// | `exchange` | the default exchange | name, template with `{topic}`, or (in a file) table |
/// | `destination` | `{topic}` | routing key; the queue's name with the default exchange |
/// | `declare_queues` | never | `quorum` or `classic`: creates queues that don't exist |
/// | `max_message_bytes` | 16 MiB | larger payloads are rejected |
/// | `heartbeat_ms` | 10000 | in whole seconds; 0 leaves it to the broker |
/// | `connect_timeout_ms` | 10000 | for connecting to one server, and for its answer to `check` |
/// | `ca` | | path of certificates (PEM) that sign the servers', besides Mozilla's |
/// | `certificate`, `certificate_key` | | paths of the client's certificate and its key (PEM) |
/// | `external` | `false` | the certificate is the login (SASL `EXTERNAL`) |
///
/// A token (OAuth 2) is given as the password.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RabbitMqConfig {
    /// `host:port` of each. They are tried in turn, beginning with the one after that which failed.
    pub servers: Vec<String>,
    /// The virtual host.
    #[serde(default = "root")]
    pub vhost: String,
    /// The user; without user and password both are `guest`.
    pub user: Option<String>,
    /// The user's password, or a token.
    pub password: Option<SecretString>,
    /// Whether to use TLS.
    #[serde(default)]
    pub tls: bool,
    /// Certificates (PEM) that sign the servers', besides Mozilla's.
    pub ca: Option<PathBuf>,
    /// The client's certificate and those above it (PEM).
    pub certificate: Option<PathBuf>,
    /// The key of the client's certificate (PEM).
    pub certificate_key: Option<PathBuf>,
    /// Whether the client's certificate is the login, instead of user and password. The broker
    /// needs its plugin `rabbitmq_auth_mechanism_ssl` for that.
    #[serde(default)]
    pub external: bool,
    /// The exchange of a topic; without it the default exchange.
    pub exchange: Option<Destinations>,
    /// The routing key of a topic, which is the name of the queue with the default exchange.
    #[serde(default)]
    pub destination: Destinations,
    /// Creates queues that don't exist, durable and of this type. With the default exchange only.
    pub declare_queues: Option<QueueType>,
    /// The largest payload that is sent, in bytes. The broker's own limit (`max_message_size`,
    /// 128 MiB before RabbitMQ 4, 16 MiB since) must not be lower: it closes the channel.
    #[serde(default = "max_message_bytes")]
    pub max_message_bytes: usize,
    /// How often both sides show that they are alive, in milliseconds, rounded up to seconds.
    #[serde(default = "ten_seconds")]
    pub heartbeat_ms: u64,
    /// How long connecting to one server may take, and its answer to `check`, in milliseconds.
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
    /// To this server, with everything else as it is by default.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            servers: vec![server.into()],
            vhost: root(),
            user: None,
            password: None,
            tls: false,
            ca: None,
            certificate: None,
            certificate_key: None,
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

    /// For trying every server, and for what the last of them is asked.
    pub(crate) fn longest_connect(&self) -> Duration {
        let servers = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        self.connect_timeout().saturating_mul(servers.saturating_add(1))
    }

    /// The servers, each with its port.
    pub(crate) fn addresses(&self) -> Result<Vec<String>, RabbitMqError> {
        let servers = BrokerUrl::parse(&format!("amqp://{}", self.servers.join(",")), &["amqp"])?;
        // A server given with its account would smuggle a secret into error texts.
        if servers.user.is_some() || servers.password.is_some() || !servers.path.is_empty() {
            return Err(RabbitMqError::Config("`servers` are `host:port`, without an account"));
        }
        Ok(servers.hosts_with_port(if self.tls { 5671 } else { 5672 })?)
    }

    /// Says what no connection could be made with.
    pub(crate) fn check(&self) -> Result<(), RabbitMqError> {
        let certificate = self.certificate.is_some();
        let problem = if self.declare_queues.is_some() && self.exchange.is_some() {
            "`declare_queues` creates queues for the default exchange: bind your own to `exchange`"
        } else if self.user.is_some() != self.password.is_some() {
            "the options `user` and `password` need each other"
        } else if certificate != self.certificate_key.is_some() {
            "the options `certificate` and `certificate_key` need each other"
        } else if !self.tls && (certificate || self.ca.is_some() || self.external) {
            "the options `ca`, `certificate` and `external` need TLS: write `amqps://`, or set `tls`"
        } else if self.external && !certificate {
            "the option `external` needs `certificate` and `certificate_key`"
        } else {
            return self.addresses().map(drop);
        };
        Err(RabbitMqError::Config(problem))
    }
}

impl FromStr for RabbitMqConfig {
    type Err = RabbitMqError;

    fn from_str(url: &str) -> Result<Self, RabbitMqError> {
        let url = BrokerUrl::parse(url, &["amqp", "amqps"])?;
        let tls = url.scheme == "amqps";
        let servers = url.hosts_with_port(if tls { 5671 } else { 5672 })?;
        let mut parts: Vec<_> = servers.iter().map(|host| ("servers", host.as_str())).collect();
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
        assert_eq!(config.servers, ["one:5672", "two:5673"]);
        assert_eq!((config.user.as_deref(), config.vhost.as_str()), (Some("shop"), "shop"));
        assert_eq!(config.password.unwrap().expose_secret(), "s/cret");
        assert_eq!(config.exchange.unwrap().of("orders").unwrap(), "events");
        assert_eq!(config.destination.of("orders").unwrap(), "orders");
        assert!(!config.tls);
        let config = parse("amqps://h/%2f?declare_queues=quorum&max_message_bytes=7&ca=/ca");
        assert_eq!((config.servers, config.vhost), (vec!["h:5671".to_owned()], "/".to_owned()));
        assert!(config.user.is_none() && config.password.is_none());
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
            ("amqp://u:canary@h?ca=/ca", "need TLS"),
            ("amqps://u:canary@h?certificate=/c", "need each other"),
            ("amqps://u:canary@h?external=true", "`external` needs"),
            ("amqp://canary@h", "`user` and `password` need each other"),
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
        let text =
            r#"{"servers": ["h", "[::1]", "i:7"], "exchange": {"orders": "shop"}, "tls": true}"#;
        let config: RabbitMqConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.addresses().unwrap(), ["h:5671", "[::1]:5671", "i:7"]);
        let exchange = config.exchange.unwrap();
        assert_eq!((exchange.of("orders").as_deref(), exchange.of("x")), (Some("shop"), None));
        assert!(serde_json::from_str::<RabbitMqConfig>(r#"{"servers": [], "host": "h"}"#).is_err());
        for (server, says) in [
            ("", "it names no host"),
            ("u:canary@h", "without an account"),
            ("h:0", "a port is no number between 1 and 65535"),
        ] {
            let error = RabbitMqConfig::new(server).check().unwrap_err().to_string();
            assert!(error.contains(says) && !error.contains("canary"), "{error}");
        }
    }
}
