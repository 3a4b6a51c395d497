//! Where and how to publish, from a URL or a configuration file.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use outbox_core::broker::{BrokerUrl, Destinations, InvalidUrl};
use secrecy::SecretString;
use serde::Deserialize;

use crate::RedisError;

/// Where and how to publish.
///
/// From a URL: `redis://user:password@host:6379/0?option=value`; `/0` is the number of the
/// database. `rediss://` asks for TLS, `redis-cluster://` and `rediss-cluster://` for a cluster, of
/// which any number of nodes may be named. The options are the fields below, by their names.
///
/// | option | default | |
/// |---|---|---|
/// | `servers` | from the URL | `host:port` of the server, or of nodes of the cluster, or of the sentinels |
/// | `user`, `password` | from the URL | without a user it is Redis' default user |
/// | `database` | 0 | from the URL's path |
/// | `tls` | `false` | `rediss://` sets it |
/// | `ca` | Mozilla's | path of the certificates (PEM) that sign the servers' |
/// | `certificate`, `certificate_key` | | paths of the client's certificate and its key (PEM) |
/// | `cluster` | `false` | `redis-cluster://` sets it |
/// | `sentinel` | | name of the master that the sentinels at `servers` know |
/// | `sentinel_user`, `sentinel_password` | | for the sentinels |
/// | `destination` | `{topic}` | the stream of a topic |
/// | `create_stream` | `true` | `XADD` creates a stream that doesn't exist; without it its messages are rejected |
/// | `maxlen` | | old entries are trimmed, so that about that many stay (`MAXLEN ~`); at least 1 |
/// | `wait_replicas` | 0 | how many replicas must have a message before it is delivered (`WAIT`) |
/// | `wait_ms` | 1000 | how long they are waited for |
/// | `max_message_bytes` | 512 MiB | larger messages are rejected, as are those of which one part is larger than the server's `proto-max-bulk-len`, where the user may ask for that (`CONFIG GET`) |
/// | `connect_timeout_ms` | 5000 | for connecting, and for the answer to `check` |
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `host:port` of the server, or of nodes of the cluster, or of the sentinels.
    pub servers: Vec<String>,
    /// The user; Redis has a default one.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<SecretString>,
    /// The number of the database.
    #[serde(default)]
    pub database: i64,
    /// Whether TLS is used.
    #[serde(default)]
    pub tls: bool,
    /// Certificates (PEM) that sign the servers'; Mozilla's if there is none.
    pub ca: Option<PathBuf>,
    /// The client's certificate (PEM).
    pub certificate: Option<PathBuf>,
    /// The key of the client's certificate (PEM).
    pub certificate_key: Option<PathBuf>,
    /// Whether the servers are a cluster's.
    #[serde(default)]
    pub cluster: bool,
    /// The name of the master that the sentinels know.
    pub sentinel: Option<String>,
    /// The user for the sentinels.
    pub sentinel_user: Option<String>,
    /// The password for the sentinels.
    pub sentinel_password: Option<SecretString>,
    /// The stream of a topic.
    #[serde(default)]
    pub destination: Destinations,
    /// Whether a stream that doesn't exist is created.
    #[serde(default = "create_stream")]
    pub create_stream: bool,
    /// About how many entries a stream keeps. What is trimmed is lost, whether it was read or not.
    pub maxlen: Option<u64>,
    /// How many replicas must have a message before it is delivered.
    #[serde(default)]
    pub wait_replicas: u32,
    /// How long replicas are waited for, in milliseconds.
    #[serde(default = "wait_ms")]
    pub wait_ms: u64,
    /// Larger messages are rejected; in bytes, by [`Message::size`](outbox_core::Message::size).
    #[serde(default = "max_message_bytes")]
    pub max_message_bytes: usize,
    /// For connecting and for the answer to `check`, in milliseconds.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
}

impl RedisConfig {
    /// To this server, with everything else as it is by default.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            servers: vec![server.into()],
            user: None,
            password: None,
            database: 0,
            tls: false,
            ca: None,
            certificate: None,
            certificate_key: None,
            cluster: false,
            sentinel: None,
            sentinel_user: None,
            sentinel_password: None,
            destination: Destinations::default(),
            create_stream: create_stream(),
            maxlen: None,
            wait_replicas: 0,
            wait_ms: wait_ms(),
            max_message_bytes: max_message_bytes(),
            connect_timeout_ms: connect_timeout_ms(),
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// Says what no connection could be made with.
    pub(crate) fn check(&self) -> Result<(), RedisError> {
        let several = self.cluster || self.sentinel.is_some();
        let problem = if self.servers.is_empty() {
            "the option `servers` names no server"
        } else if self.servers.len() > 1 && !several {
            "several servers need the option `cluster` or `sentinel`"
        } else if self.cluster && self.sentinel.is_some() {
            "the options `cluster` and `sentinel` exclude each other"
        } else if self.cluster && self.database != 0 {
            "a cluster has no other database than 0"
        } else if self.cluster && self.wait_replicas > 0 {
            "the option `wait_replicas` can't be used with a cluster"
        } else if self.certificate.is_some() != self.certificate_key.is_some() {
            "the options `certificate` and `certificate_key` need each other"
        } else if !self.tls && (self.ca.is_some() || self.certificate.is_some()) {
            "the options `ca` and `certificate` need TLS: write `rediss://`, or set `tls`"
        } else if self.user.is_some() && self.password.is_none() {
            "the option `user` needs `password`: without it Redis takes its default user"
        } else if self.sentinel_user.is_some() && self.sentinel_password.is_none() {
            "the option `sentinel_user` needs `sentinel_password`"
        } else if self.maxlen == Some(0) {
            "the option `maxlen` is at least 1: with 0 no message would stay"
        } else if self.sentinel.is_none() && self.has_sentinel_account() {
            "the account for sentinels needs the option `sentinel`"
        } else if self.wait_ms == 0 {
            "the option `wait_ms` is at least 1: 0 would wait for ever"
        } else {
            return Ok(());
        };
        Err(RedisError::Config(problem))
    }

    fn has_sentinel_account(&self) -> bool {
        self.sentinel_user.is_some() || self.sentinel_password.is_some()
    }
}

impl FromStr for RedisConfig {
    type Err = RedisError;

    fn from_str(url: &str) -> Result<Self, RedisError> {
        const SCHEMES: [&str; 4] = ["redis", "rediss", "redis-cluster", "rediss-cluster"];
        let url = BrokerUrl::parse(url, &SCHEMES)?;
        let sentinels = url.config::<Peek>(&[]).is_ok_and(|peek| peek.sentinel.is_some());
        let servers = url.hosts_with_port(if sentinels { 26_379 } else { 6_379 })?;
        let mut parts: Vec<_> = servers.iter().map(|host| ("servers", host.as_str())).collect();
        parts.extend(url.user.as_deref().map(|user| ("user", user)));
        parts.extend(url.password.as_deref().map(|password| ("password", password)));
        if !url.path.is_empty() {
            url.path.parse::<u32>().map_err(|_| {
                InvalidUrl::new("what follows the servers is the number of the database")
            })?;
            parts.push(("database", &url.path));
        }
        if url.scheme.starts_with("rediss") {
            parts.push(("tls", "true"));
        }
        if url.scheme.ends_with("-cluster") {
            parts.push(("cluster", "true"));
        }
        let config: Self = url.config(&parts)?;
        config.check()?;
        Ok(config)
    }
}

/// Whether the URL names sentinels, whose port is another.
#[derive(Deserialize)]
struct Peek {
    sentinel: Option<String>,
}

fn create_stream() -> bool {
    true
}

fn wait_ms() -> u64 {
    1_000
}

fn max_message_bytes() -> usize {
    512 * 1024 * 1024
}

fn connect_timeout_ms() -> u64 {
    5_000
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn parse(url: &str) -> RedisConfig {
        url.parse().unwrap()
    }

    #[test]
    fn urls() {
        let plain = parse("redis://h");
        assert_eq!((plain.servers, plain.database), (vec!["h:6379".to_owned()], 0));
        assert!(plain.create_stream && !plain.tls && !plain.cluster && plain.maxlen.is_none());
        let full = parse(
            "rediss://u:p%40w@h:1/2?ca=/ca.pem&certificate=c&certificate_key=k&maxlen=9\
             &wait_replicas=1&wait_ms=5&destination=s:%7Btopic%7D&create_stream=false\
             &max_message_bytes=7&connect_timeout_ms=8",
        );
        assert_eq!((full.user.as_deref(), full.database), (Some("u"), 2));
        assert_eq!(full.password.as_ref().unwrap().expose_secret(), "p@w");
        assert_eq!((full.maxlen, full.wait_replicas, full.wait_ms), (Some(9), 1, 5));
        assert_eq!(full.destination.of("orders").unwrap(), "s:orders");
        assert!(full.tls && !full.create_stream);
        let cluster = parse("rediss-cluster://a,b:7");
        assert_eq!(cluster.servers, ["a:6379", "b:7"]);
        assert!(cluster.cluster && cluster.tls);
        assert!(parse("redis://a,b?cluster=true").cluster);
        let sentinel = parse("redis://:pw@a,b?sentinel=main&sentinel_password=s");
        assert_eq!(sentinel.servers, ["a:26379", "b:26379"]);
        assert_eq!((sentinel.sentinel.as_deref(), sentinel.user), (Some("main"), None));
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, says) in [
            ("kafka://h", "it does not begin with `redis://`"),
            ("redis://", "it names no host"),
            ("redis://h/x", "the number of the database"),
            ("redis://h?max=1", "unknown field `max`"),
            ("redis://a,b", "several servers need the option `cluster` or `sentinel`"),
            ("redis-cluster://a?sentinel=m", "exclude each other"),
            ("redis-cluster://a/1", "no other database than 0"),
            ("redis-cluster://a?wait_replicas=1", "can't be used with a cluster"),
            ("redis://a?ca=f", "need TLS"),
            ("rediss://a?certificate=f", "`certificate` and `certificate_key` need each other"),
            ("redis://a?sentinel_password=canary", "needs the option `sentinel`"),
            ("redis://a?wait_ms=0", "`wait_ms` is at least 1"),
            ("redis://a?maxlen=0", "`maxlen` is at least 1"),
            ("redis://u@a", "`user` needs `password`"),
            ("redis://a?sentinel=m&sentinel_user=u", "`sentinel_user` needs `sentinel_password`"),
        ] {
            let error = url.parse::<RedisConfig>().unwrap_err();
            assert!(error.to_string().contains(says), "{url}: {error}");
            assert!(!error.is_retryable() && !error.to_string().contains("canary"));
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for url in ["redis://u:canary@h", "redis://h?sentinel=m&sentinel_password=canary"] {
            assert!(!format!("{:?}", parse(url)).contains("canary"), "{url}");
        }
    }
}
