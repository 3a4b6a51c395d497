//! Where and how to publish, from a URL or a configuration file.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use async_nats::{ConnectOptions, ServerAddr};
use outbox_core::broker::{BrokerUrl, Destinations, InvalidUrl};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;

use crate::NatsError;
use crate::mapping::is_plain;

/// Where and how to publish.
///
/// From a URL: `nats://user:password@host:4222,other:4222?option=value`. A user without a password
/// is a token, as everywhere with NATS; `tls://` asks for TLS. The options are the fields below,
/// by their names; `subjects` may be there several times.
///
/// | option | default | |
/// |---|---|---|
/// | `servers` | from the URL | `host:port` of each server, port 4222 if there is none |
/// | `user`, `password` | from the URL | |
/// | `token` | from the URL | |
/// | `nkey` | | the seed of an nkey |
/// | `credentials` | | path of a credentials file (JWT and nkey) |
/// | `inbox_prefix` | `_INBOX` | answers come to subjects below it; for accounts that may not subscribe to others |
/// | `tls` | `false` | TLS is required; `tls://` sets it |
/// | `tls_first` | `false` | the TLS handshake comes before the server's greeting |
/// | `ca` | the system's | path of the certificates (PEM) that sign the servers' |
/// | `certificate`, `certificate_key` | | paths of the client's certificate and its key (PEM) |
/// | `destination` | `{topic}` | the subject of a topic |
/// | `fence` | | what partitions are claimed by, `{topic}` standing for the topic: see [the crate's documentation](crate#a-fence) |
/// | `domain` | the server's | the JetStream domain in which streams are looked for, and created |
/// | `reject_without_stream` | `false` | a message is rejected if no stream there takes its subject; only where all streams are there |
/// | `max_pending` | 256 | messages that wait for their acknowledgement at a time, over all calls; a batch is sent in parts if it has more |
/// | `connect_timeout_ms` | 5000 | for connecting to a server, and for its answer to `check` |
/// | `create_stream` | | name of a stream that is created if it doesn't exist |
/// | `subjects` | | what that stream takes, such as `orders.>` |
/// | `replicas` | 1 | of that stream |
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NatsConfig {
    /// `host:port` of each server.
    pub servers: Vec<String>,
    /// The user.
    pub user: Option<String>,
    /// The user's password.
    pub password: Option<SecretString>,
    /// A token, instead of a user.
    pub token: Option<SecretString>,
    /// The seed of an nkey, instead of a user.
    pub nkey: Option<SecretString>,
    /// A credentials file (JWT and nkey), instead of a user.
    pub credentials: Option<PathBuf>,
    /// What the subjects begin with to which answers come; `_INBOX` if nothing is said.
    pub inbox_prefix: Option<String>,
    /// Whether TLS is required.
    #[serde(default)]
    pub tls: bool,
    /// Whether the TLS handshake comes before the server's greeting.
    #[serde(default)]
    pub tls_first: bool,
    /// Certificates (PEM) that sign the servers'; the system's if there is none.
    pub ca: Option<PathBuf>,
    /// The client's certificate (PEM).
    pub certificate: Option<PathBuf>,
    /// The key of the client's certificate (PEM).
    pub certificate_key: Option<PathBuf>,
    /// The subject of a topic.
    #[serde(default)]
    pub destination: Destinations,
    /// The subjects below which partitions are claimed, so that the streams refuse what a relay
    /// sends that has lost its partition. Without it they take it.
    pub fence: Option<Destinations>,
    /// The `JetStream` domain in which streams are looked for and created; the server's own if
    /// nothing is said.
    pub domain: Option<String>,
    /// Whether a message is rejected if no stream of the account (in `domain`) takes its subject.
    /// Where streams of other domains or accounts take subjects, too, they would be rejected
    /// while those can't be reached.
    #[serde(default)]
    pub reject_without_stream: bool,
    /// How many messages wait for their acknowledgement at a time, over all calls.
    #[serde(default = "max_pending")]
    pub max_pending: usize,
    /// For connecting to a server and for its answer to `check`, in milliseconds.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
    /// Name of a stream that is created if it doesn't exist. One that exists isn't changed.
    pub create_stream: Option<String>,
    /// What the created stream takes.
    #[serde(default)]
    pub subjects: Vec<String>,
    /// On how many servers the created stream is kept.
    #[serde(default = "replicas")]
    pub replicas: usize,
}

/// The replies of one call fit into what its subscription holds.
const MOST_PENDING: usize = 65_536;

impl NatsConfig {
    /// To these servers, with everything else as it is by default.
    pub fn new(servers: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Self {
            servers: servers.into_iter().map(Into::into).collect(),
            user: None,
            password: None,
            token: None,
            nkey: None,
            credentials: None,
            inbox_prefix: None,
            tls: false,
            tls_first: false,
            ca: None,
            certificate: None,
            certificate_key: None,
            destination: Destinations::default(),
            fence: None,
            domain: None,
            reject_without_stream: false,
            max_pending: max_pending(),
            connect_timeout_ms: connect_timeout_ms(),
            create_stream: None,
            subjects: Vec::new(),
            replicas: replicas(),
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// For trying every server, and for what the last of them is asked.
    pub(crate) fn longest_connect(&self) -> Duration {
        let servers = u32::try_from(self.servers.len()).unwrap_or(u32::MAX);
        self.connect_timeout().saturating_mul(servers.saturating_add(1))
    }

    /// Says what no connection could be made with.
    pub(crate) fn check(&self) -> Result<(), NatsError> {
        let accounts = [
            self.user.is_some() || self.password.is_some(),
            self.token.is_some(),
            self.nkey.is_some(),
            self.credentials.is_some(),
        ];
        let problem = if self.servers.is_empty() {
            "the option `servers` names no server"
        } else if accounts.into_iter().filter(|there| *there).count() > 1 {
            "only one of `user`, `token`, `nkey` and `credentials` can be used"
        } else if self.user.is_some() != self.password.is_some() {
            "the options `user` and `password` need each other"
        } else if self.certificate.is_some() != self.certificate_key.is_some() {
            "the options `certificate` and `certificate_key` need each other"
        } else if !self.tls && (self.ca.is_some() || self.certificate.is_some() || self.tls_first) {
            "the options `ca`, `certificate` and `tls_first` need TLS: write `tls://`, or set `tls`"
        } else if self.inbox_prefix.as_deref().is_some_and(|prefix| !is_plain(prefix)) {
            "the option `inbox_prefix` is a subject without wildcards"
        } else if self.domain.as_deref().is_some_and(|name| name.contains('.') || !is_plain(name)) {
            "the option `domain` is a name without dots and wildcards"
        } else if !(1..=MOST_PENDING).contains(&self.max_pending) {
            "the option `max_pending` is between 1 and 65536"
        } else if self.create_stream.is_some() == self.subjects.is_empty() {
            "the options `create_stream` and `subjects` need each other"
        } else {
            return Ok(());
        };
        Err(NatsError::Config(problem))
    }

    pub(crate) fn addresses(&self) -> Result<Vec<ServerAddr>, NatsError> {
        let scheme = if self.tls { "tls" } else { "nats" };
        let address = |server: &String| {
            let problem = || NatsError::Address(server.clone());
            // A server given with its account would smuggle a secret into error texts.
            if server.contains(['@', '/']) {
                return Err(NatsError::Config("`servers` are `host:port`, without an account"));
            }
            format!("{scheme}://{server}").parse().map_err(|_| problem())
        };
        self.servers.iter().map(address).collect()
    }

    /// What the client is told, but for what it must not do by itself.
    pub(crate) async fn options(&self) -> Result<ConnectOptions, NatsError> {
        let secret = |secret: &SecretString| secret.expose_secret().to_owned();
        let mut options = ConnectOptions::new()
            .name("outbox")
            .connection_timeout(self.connect_timeout())
            .request_timeout(Some(self.connect_timeout()))
            .require_tls(self.tls);
        if let (Some(user), Some(password)) = (&self.user, &self.password) {
            options = options.user_and_password(user.clone(), secret(password));
        }
        if let Some(token) = &self.token {
            options = options.token(secret(token));
        }
        if let Some(seed) = &self.nkey {
            options = options.nkey(secret(seed));
        }
        if let Some(path) = &self.credentials {
            let unreadable = |source| NatsError::Credentials { path: path.clone(), source };
            options = options.credentials_file(path).await.map_err(unreadable)?;
        }
        if let Some(prefix) = &self.inbox_prefix {
            options = options.custom_inbox_prefix(prefix);
        }
        if self.tls_first {
            options = options.tls_first();
        }
        if let Some(path) = &self.ca {
            options = options.add_root_certificates(path.clone());
        }
        if let (Some(certificate), Some(key)) = (&self.certificate, &self.certificate_key) {
            options = options.add_client_certificate(certificate.clone(), key.clone());
        }
        Ok(options)
    }
}

impl FromStr for NatsConfig {
    type Err = NatsError;

    fn from_str(url: &str) -> Result<Self, NatsError> {
        let url = BrokerUrl::parse(url, &["nats", "tls"])?;
        if !url.path.is_empty() {
            return Err(InvalidUrl::new("nothing but options may follow the servers").into());
        }
        let servers = url.hosts_with_port(4222)?;
        let mut parts: Vec<_> = servers.iter().map(|host| ("servers", host.as_str())).collect();
        match (&url.user, &url.password) {
            (Some(token), None) => parts.push(("token", token)),
            (user, password) => {
                parts.extend(user.as_deref().map(|user| ("user", user)));
                parts.extend(password.as_deref().map(|password| ("password", password)));
            }
        }
        if url.scheme == "tls" {
            parts.push(("tls", "true"));
        }
        let config: Self = url.config(&parts)?;
        config.check()?;
        Ok(config)
    }
}

fn max_pending() -> usize {
    256
}

fn connect_timeout_ms() -> u64 {
    5_000
}

fn replicas() -> usize {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> NatsConfig {
        url.parse().unwrap()
    }

    #[test]
    fn urls() {
        let plain = parse("nats://one,[::1]:9");
        assert_eq!(plain.servers, ["one:4222", "[::1]:9"]);
        assert_eq!((plain.max_pending, plain.tls), (256, false));
        let full = parse(
            "tls://u:p%40w@h/?ca=/ca.pem&certificate=c&certificate_key=k&tls_first=true\
             &inbox_prefix=_in.relay&domain=hub&reject_without_stream=true&max_pending=7&connect_timeout_ms=900&destination=shop.%7Btopic%7D\
             &fence=fence.%7Btopic%7D&create_stream=SHOP&subjects=shop.%3E&subjects=other&replicas=3",
        );
        assert_eq!(full.user.as_deref(), Some("u"));
        assert_eq!(full.password.as_ref().unwrap().expose_secret(), "p@w");
        assert!(full.tls && full.tls_first && full.reject_without_stream);
        assert_eq!(full.inbox_prefix.as_deref(), Some("_in.relay"));
        assert_eq!(full.domain.as_deref(), Some("hub"));
        assert_eq!(full.destination.of("orders").unwrap(), "shop.orders");
        assert_eq!(full.fence.as_ref().unwrap().of("orders").unwrap(), "fence.orders");
        assert_eq!(full.subjects, ["shop.>", "other"]);
        assert_eq!((full.max_pending, full.replicas), (7, 3));
        assert_eq!(full.connect_timeout(), Duration::from_millis(900));
        let token = parse("nats://s3cret@h");
        assert_eq!(token.token.unwrap().expose_secret(), "s3cret");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, says) in [
            ("kafka://h", "it does not begin with `nats://`"),
            ("nats://", "it names no host"),
            ("nats://h/path", "nothing but options may follow the servers"),
            ("nats://h?pending=1", "unknown field `pending`"),
            ("nats://h?max_pending=0", "`max_pending` is between 1 and 65536"),
            ("nats://h?user=u", "`user` and `password` need each other"),
            ("nats://canary@h?credentials=f", "only one of `user`, `token`"),
            ("nats://h?create_stream=S", "`create_stream` and `subjects` need each other"),
            ("tls://h?certificate=c", "`certificate` and `certificate_key` need each other"),
            ("nats://h?ca=c", "need TLS"),
            ("nats://h?certificate=c&certificate_key=k", "need TLS"),
            ("nats://h?tls_first=true", "need TLS"),
            ("nats://h?inbox_prefix=a.%3E", "`inbox_prefix` is a subject without wildcards"),
            ("nats://h?fence=%7Bpartition%7D", "only `{topic}`"),
            ("nats://h?domain=a.b", "`domain` is a name without dots"),
        ] {
            let error = url.parse::<NatsConfig>().unwrap_err();
            assert!(error.to_string().contains(says), "{url}: {error}");
            assert!(!error.is_retryable());
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        for url in ["nats://u:canary@h", "nats://canary@h", "nats://h?nkey=canary"] {
            assert!(!format!("{:?}", parse(url)).contains("canary"), "{url}");
        }
        let error = NatsConfig::new(["u:canary@h"]).addresses().unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }
}
