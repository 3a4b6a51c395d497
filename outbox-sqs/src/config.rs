//! Where and how to publish, from a URL or a configuration file.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use outbox_core::broker::{BrokerUrl, Destinations, InvalidUrl};
use secrecy::SecretString;
use serde::Deserialize;

use crate::SqsError;

/// Where and how to publish.
///
/// From a URL: `sqs://eu-central-1?option=value` for a region, `sqs://host:port?region=us-east-1`
/// for an endpoint of one's own (by HTTP, with `tls=true` by HTTPS), `sqs://` for what the
/// environment says. A user and password in the URL are the access key's id and secret. The options
/// are the fields below, by their names.
///
/// | option | default | |
/// |---|---|---|
/// | `region` | from the URL, else from the environment | such as `eu-central-1` |
/// | `endpoint` | from the URL, else AWS's for the region | `http://…` or `https://…` |
/// | `tls` | `false` | in a URL only: HTTPS for the host in it |
/// | `access_key_id`, `secret_access_key` | from the environment | the access key |
/// | `session_token` | | of a temporary access key |
/// | `ca` | the system's | file with the certificates (PEM) of the authorities that the endpoint's may come from |
/// | `destination` | `{topic}` | the queue of a topic: its name, or its whole URL |
/// | `account` | the caller's | the account (12 digits) that owns the queues |
/// | `queue_url_prefix` | | what stands before a queue's name in its URL; without it SQS is asked |
/// | `create_queues` | `false` | creates queues that don't exist |
/// | `body` | `base64` | of a payload that SQS doesn't take as text: `base64`, or `reject` it |
/// | `max_bytes` | 262144 | the largest message, and the largest request, by SQS's count; at most 1048576 |
/// | `concurrency` | 16 | requests under way at a time |
/// | `connect_timeout_ms` | 5000 | for connecting, and for the answer to `check` |
///
/// Where the environment is asked it is the default chain of the AWS SDK: variables, profiles, web
/// identity, the container's or the instance's role. Single sign-on and processes are left out.
/// What it asks by HTTPS it trusts as the system does, whatever `ca` says.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SqsConfig {
    /// The region; from the environment if there is none.
    pub region: Option<String>,
    /// Where SQS is, `http://…` or `https://…`; AWS's own for the region if there is none.
    pub endpoint: Option<String>,
    /// The id of the access key; from the environment if there is none.
    pub access_key_id: Option<String>,
    /// The secret of the access key.
    pub secret_access_key: Option<SecretString>,
    /// The token of a temporary access key.
    pub session_token: Option<SecretString>,
    /// A file with the certificates (PEM) of the authorities that the endpoint's may come from, in
    /// place of the system's.
    pub ca: Option<PathBuf>,
    /// The queue of a topic: its name, or its whole URL, which is then used as it is.
    #[serde(default)]
    pub destination: Destinations,
    /// The account that owns the queues, for names; the caller's if there is none.
    pub account: Option<String>,
    /// What stands before a queue's name in its URL. Without it SQS is asked for the URL, once.
    pub queue_url_prefix: Option<String>,
    /// Whether queues that don't exist are created; FIFO if the name says so.
    #[serde(default)]
    pub create_queues: bool,
    /// What becomes of a payload that SQS doesn't take as text.
    #[serde(default)]
    pub body: Body,
    /// The largest message, and the largest request, in bytes: body, and names, types and values of
    /// attributes. A queue's own `MaximumMessageSize` must not be lower.
    #[serde(default = "max_bytes")]
    pub max_bytes: usize,
    /// How many requests are under way at a time, over all calls.
    #[serde(default = "concurrency")]
    pub concurrency: usize,
    /// For connecting and for the answer to `check`, in milliseconds.
    #[serde(default = "connect_timeout_ms")]
    pub connect_timeout_ms: u64,
}

/// What becomes of a payload that SQS doesn't take as text: one that is empty, isn't UTF-8 or has
/// characters that XML hasn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Body {
    /// The body is its base64, which the attribute `outbox-body-encoding` says.
    #[default]
    Base64,
    /// The message is rejected.
    Reject,
}

impl SqsConfig {
    /// To AWS's endpoint in `region`, with the access key that the environment has and everything
    /// else as it is by default.
    pub fn new(region: impl Into<String>) -> Self {
        Self { region: Some(region.into()), ..Self::from_environment() }
    }

    /// With region and access key that the environment has.
    pub fn from_environment() -> Self {
        Self {
            region: None,
            endpoint: None,
            access_key_id: None,
            secret_access_key: None,
            session_token: None,
            ca: None,
            destination: Destinations::default(),
            account: None,
            queue_url_prefix: None,
            create_queues: false,
            body: Body::default(),
            max_bytes: max_bytes(),
            concurrency: concurrency(),
            connect_timeout_ms: connect_timeout_ms(),
        }
    }

    pub(crate) fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    /// Says what no connection could be made with.
    pub(crate) fn check(&self) -> Result<(), SqsError> {
        let no_url = |url: &Option<String>| url.as_deref().is_some_and(|url| !is_url(url));
        let problem = if self.access_key_id.is_some() != self.secret_access_key.is_some() {
            "the options `access_key_id` and `secret_access_key` need each other"
        } else if self.session_token.is_some() && self.access_key_id.is_none() {
            "the option `session_token` needs `access_key_id`"
        } else if no_url(&self.endpoint) {
            "the option `endpoint` is `http://…` or `https://…`, without an account"
        } else if self.ca.is_some() && !is_https(self.endpoint.as_deref()) {
            "the option `ca` needs HTTPS: set `tls`, or an `endpoint` of `https://…`"
        } else if no_url(&self.queue_url_prefix) {
            "the option `queue_url_prefix` is `http://…` or `https://…`, without an account"
        } else if self.queue_url_prefix.is_some() && (self.create_queues || self.account.is_some())
        {
            "with `queue_url_prefix` SQS is asked for no queue: leave out `account` and \
             `create_queues`"
        } else if self.create_queues && self.account.is_some() {
            "queues can only be created in the caller's account: leave out `account`"
        } else if !(1024..=1024 * 1024).contains(&self.max_bytes) {
            "the option `max_bytes` is between 1024 and 1048576"
        } else if !(1..=256).contains(&self.concurrency) {
            "the option `concurrency` is between 1 and 256"
        } else {
            return Ok(());
        };
        Err(SqsError::Config(problem))
    }
}

/// AWS's own endpoints are, too.
fn is_https(endpoint: Option<&str>) -> bool {
    endpoint.is_none_or(|url| url.starts_with("https://"))
}

/// Whether it is a URL that holds no account, which would be shown in errors.
pub(crate) fn is_url(text: &str) -> bool {
    let http = text.starts_with("http://") || text.starts_with("https://");
    http && !text.contains(['@', ' '])
}

impl FromStr for SqsConfig {
    type Err = SqsError;

    fn from_str(url: &str) -> Result<Self, SqsError> {
        let mut url = BrokerUrl::parse(url, &["sqs"])?;
        if !url.path.is_empty() {
            return Err(InvalidUrl::new("nothing but options may follow the host").into());
        }
        let scheme = match url.take_options(|name| name == "tls")?.first() {
            None => "http",
            Some((_, value)) if value == "false" => "http",
            Some((_, value)) if value == "true" => "https",
            Some(_) => return Err(InvalidUrl::new("the option `tls` is `true` or `false`").into()),
        };
        let host = match url.hosts.as_slice() {
            [] => None,
            [host] => Some(host.as_str()),
            _ => return Err(InvalidUrl::new("it names more than one host").into()),
        };
        let mut parts = Vec::new();
        let endpoint = host.map(|host| format!("{scheme}://{host}"));
        match (host, &endpoint) {
            (Some(host), Some(endpoint)) if host.contains(':') => {
                url.hosts_with_port(0)?;
                parts.push(("endpoint", endpoint.as_str()));
            }
            (Some(host), _) if is_region(host) => parts.push(("region", host)),
            (None, _) => {}
            _ => {
                let problem = "its host is a region such as `eu-central-1`, or `host:port`";
                return Err(InvalidUrl::new(problem).into());
            }
        }
        parts.extend(url.user.as_deref().map(|user| ("access_key_id", user)));
        parts.extend(url.password.as_deref().map(|password| ("secret_access_key", password)));
        let config: Self = url.config(&parts)?;
        config.check()?;
        Ok(config)
    }
}

/// All regions are words and a number, as `us-gov-west-1`. A host like `my-queues` isn't.
fn is_region(host: &str) -> bool {
    let is_word = |word: &str| word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase());
    let Some((words, number)) = host.rsplit_once('-') else { return false };
    let is_number = !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit());
    is_number && words.contains('-') && words.split('-').all(is_word)
}

fn max_bytes() -> usize {
    256 * 1024
}

fn concurrency() -> usize {
    16
}

fn connect_timeout_ms() -> u64 {
    5_000
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn parse(url: &str) -> SqsConfig {
        url.parse().unwrap()
    }

    #[test]
    fn urls() {
        let region = parse("sqs://eu-central-1");
        assert_eq!((region.region.as_deref(), region.endpoint), (Some("eu-central-1"), None));
        assert_eq!((region.max_bytes, region.concurrency), (262_144, 16));
        assert_eq!((region.body, region.create_queues), (Body::Base64, false));
        for region in ["us-gov-west-1", "ap-southeast-2", "eusc-de-east-1"] {
            assert_eq!(parse(&format!("sqs://{region}")).region.as_deref(), Some(region));
        }
        let environment = parse("sqs://");
        assert_eq!((environment.region, environment.endpoint), (None, None));
        let local = parse("sqs://127.0.0.1:4566?region=us-east-1");
        assert_eq!(local.endpoint.as_deref(), Some("http://127.0.0.1:4566"));
        assert_eq!(local.region.as_deref(), Some("us-east-1"));
        let full = parse(
            "sqs://id:s%2Fcret@[::1]:9?tls=true&region=r-1&session_token=t&body=reject\
             &destination=shop-%7Btopic%7D.fifo&create_queues=true&max_bytes=1048576\
             &concurrency=4&connect_timeout_ms=900&ca=/ca.pem",
        );
        assert_eq!(full.endpoint.as_deref(), Some("https://[::1]:9"));
        assert_eq!(full.access_key_id.as_deref(), Some("id"));
        assert_eq!(full.secret_access_key.as_ref().unwrap().expose_secret(), "s/cret");
        assert_eq!(full.destination.of("orders").unwrap(), "shop-orders.fifo");
        assert_eq!((full.body, full.create_queues), (Body::Reject, true));
        assert_eq!((full.max_bytes, full.concurrency), (1_048_576, 4));
        assert_eq!(full.connect_timeout(), Duration::from_millis(900));
        assert_eq!(full.ca.as_deref(), Some("/ca.pem".as_ref()));
    }

    #[test]
    fn configuration_files() {
        let text = r#"{
            "region": "eu-central-1", "access_key_id": "id", "secret_access_key": "canary",
            "destination": {"orders": "shop.fifo"}, "body": "reject", "max_bytes": 1048576
        }"#;
        let config: SqsConfig = serde_json::from_str(text).unwrap();
        assert_eq!(config.destination.of("orders").as_deref(), Some("shop.fifo"));
        assert_eq!(config.destination.of("x"), None);
        assert_eq!((config.body, config.max_bytes), (Body::Reject, 1_048_576));
        assert_eq!((config.concurrency, config.connect_timeout_ms), (16, 5_000));
        assert_eq!(config.secret_access_key.as_ref().unwrap().expose_secret(), "canary");
        assert!(config.check().is_ok() && !format!("{config:?}").contains("canary"));
        // Both are as they are by default.
        let empty: SqsConfig = serde_json::from_str("{}").unwrap();
        assert_eq!(format!("{empty:?}"), format!("{:?}", SqsConfig::from_environment()));
        let error = serde_json::from_str::<SqsConfig>(r#"{"regoin": "r-1"}"#).unwrap_err();
        assert!(error.to_string().contains("unknown field `regoin`"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (url, says) in [
            ("kafka://h", "it does not begin with `sqs://`"),
            ("sqs://eu-west-1/path", "nothing but options may follow the host"),
            ("sqs://a:1,b:2", "it names more than one host"),
            ("sqs://my-queues", "its host is a region such as `eu-central-1`, or `host:port`"),
            ("sqs://queues-1", "its host is a region"),
            ("sqs://localhost", "its host is a region such as `eu-central-1`, or `host:port`"),
            ("sqs://sqs.eu-central-1.amazonaws.com", "its host is a region"),
            ("sqs://h:0", "a port is no number"),
            ("sqs://h:1?tls=perhaps", "`tls` is `true` or `false`"),
            ("sqs://eu-west-1?region=eu-west-2", "the option `region` is there twice"),
            ("sqs://eu-west-1?regoin=r", "unknown field `regoin`"),
            ("sqs://id@eu-west-1", "`access_key_id` and `secret_access_key` need each other"),
            ("sqs://eu-west-1?session_token=canary", "`session_token` needs `access_key_id`"),
            ("sqs://?endpoint=canary", "`endpoint` is `http://…`"),
            ("sqs://?queue_url_prefix=http://u:canary%40h", "`queue_url_prefix` is `http://…`"),
            ("sqs://?queue_url_prefix=http://h&create_queues=true", "leave out `account`"),
            ("sqs://?account=1&create_queues=true", "in the caller's account"),
            ("sqs://?body=hex", "option `body`: unknown variant `hex`"),
            ("sqs://?max_bytes=10", "`max_bytes` is between 1024 and 1048576"),
            ("sqs://?max_bytes=1048577", "`max_bytes` is between 1024 and 1048576"),
            ("sqs://h:1?ca=canary", "`ca` needs HTTPS"),
            ("sqs://?concurrency=0", "`concurrency` is between 1 and 256"),
        ] {
            let error = url.parse::<SqsConfig>().unwrap_err();
            assert!(error.to_string().contains(says), "{url}: {error}");
            assert!(!error.to_string().contains("canary"), "{error}");
            assert!(!error.is_retryable());
        }
    }

    #[test]
    fn secrets_are_not_shown() {
        let config = parse("sqs://id:canary@eu-west-1?session_token=canary");
        assert!(!format!("{config:?}").contains("canary"));
    }
}
