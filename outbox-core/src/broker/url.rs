//! From a broker's URL to an adapter's configuration.

use std::fmt;

use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

/// A broker's URL, taken apart: `scheme://user:password@host:port,host:port/path?option=value`.
/// Unlike other URLs it may name several hosts. User, password and path are percent-encoded.
#[derive(Clone, PartialEq, Eq)]
pub struct BrokerUrl {
    /// What stands before `://`, in lower case.
    pub scheme: String,
    /// The user.
    pub user: Option<String>,
    /// The password.
    pub password: Option<String>,
    /// `host`, `host:port` or `[address]:port`, in the URL's order.
    pub hosts: Vec<String>,
    /// What follows the first `/` behind the hosts, decoded.
    pub path: String,
    query: String,
}

/// A broker's URL that can't be used. What it says quotes no part of the URL that can be secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidUrl(String);

impl InvalidUrl {
    /// Says what is wrong.
    pub fn new(problem: impl Into<String>) -> Self {
        Self(problem.into())
    }
}

impl BrokerUrl {
    /// Takes `url` apart. Its scheme must be one of `schemes`.
    pub fn parse(url: &str, schemes: &[&str]) -> Result<Self, InvalidUrl> {
        let usual = schemes.first().copied().unwrap_or_default();
        let (scheme, rest) = url
            .split_once("://")
            .ok_or_else(|| InvalidUrl(format!("it does not begin with `{usual}://`")))?;
        let scheme = scheme.to_ascii_lowercase();
        if !schemes.contains(&scheme.as_str()) {
            return Err(InvalidUrl(format!("it does not begin with `{usual}://`")));
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        // Else what follows one of them in a password would pass for another part, and be quoted.
        if path.contains('@') || query.contains(['#', '@']) || rest.contains('#') {
            let problem = "`/`, `?`, `#` and `@` in user names, passwords and values must be \
                           percent-encoded";
            return Err(InvalidUrl(problem.into()));
        }
        let (account, hosts) = match authority.rsplit_once('@') {
            Some((account, hosts)) => (Some(account), hosts),
            None => (None, authority),
        };
        let (user, password) = match account.map(|account| account.split_once(':')) {
            None => (None, None),
            Some(None) => (account, None),
            Some(Some((user, password))) => (Some(user), Some(password)),
        };
        let decoded = |part: Option<&str>, name| part.map(|part| decode(part, name)).transpose();
        Ok(Self {
            scheme,
            user: decoded(user, "user")?.filter(|user| !user.is_empty()),
            password: decoded(password, "password")?,
            hosts: hosts.split(',').filter(|host| !host.is_empty()).map(str::to_owned).collect(),
            path: decode(path, "path")?,
            query: query.to_owned(),
        })
    }

    /// The hosts, each with `port` where it has none; an error if there is none.
    pub fn hosts_with_port(&self, port: u16) -> Result<Vec<String>, InvalidUrl> {
        if self.hosts.is_empty() {
            return Err(InvalidUrl::new("it names no host"));
        }
        self.hosts.iter().map(|host| with_port(host, port)).collect()
    }

    /// Takes out the options whose names are wanted, for an adapter that hands them on as they are.
    /// The same name twice is an error.
    pub fn take_options(
        &mut self,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<Vec<(String, String)>, InvalidUrl> {
        let query = std::mem::take(&mut self.query);
        let mut taken: Vec<(String, String)> = Vec::new();
        let mut rest = Vec::new();
        for option in query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let name = decode(name, "name of an option")?;
            if !wanted(&name) {
                rest.push(option);
            } else if taken.iter().any(|(other, _)| *other == name) {
                return Err(InvalidUrl(format!("the option `{name}` is there twice")));
            } else {
                taken.push((name, decode(value, "value of an option")?));
            }
        }
        self.query = rest.join("&");
        Ok(taken)
    }

    /// Reads a configuration from the URL's options and from `parts`, which are what the adapter
    /// took from the rest of the URL, each under the name of its field. A list is several parts
    /// of one name. The same field in both is an error, as is an option that there isn't.
    pub fn config<C: DeserializeOwned>(&self, parts: &[(&str, &str)]) -> Result<C, InvalidUrl> {
        let mut form: Vec<(String, String)> =
            parts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for option in self.query.split('&').filter(|option| !option.is_empty()) {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            let name = decode(name, "name of an option")?;
            if parts.iter().any(|(part, _)| *part == name) {
                return Err(InvalidUrl(format!("the option `{name}` is there twice")));
            }
            form.push((name, decode(value, "value of an option")?));
        }
        let form = serde_html_form::to_string(form).expect("pairs of text can be encoded");
        let options = serde_html_form::Deserializer::from_bytes(form.as_bytes());
        serde_path_to_error::deserialize(options).map_err(|error| {
            let path = error.path().to_string();
            let option = if path == "." { String::new() } else { format!("option `{path}`: ") };
            InvalidUrl(format!("{option}{}", error.inner()))
        })
    }
}

/// Neither password nor options, which may hold a token.
impl fmt::Debug for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BrokerUrl")
            .field("scheme", &self.scheme)
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

fn with_port(host: &str, port: u16) -> Result<String, InvalidUrl> {
    // The colons of an IPv6 address stand in brackets.
    let behind = host.rfind(']').map_or(host, |end| &host[end + 1..]);
    match behind.rsplit_once(':') {
        None => Ok(format!("{host}:{port}")),
        Some((_, digits)) if digits.parse::<u16>().is_ok_and(|port| port > 0) => {
            Ok(host.to_owned())
        }
        Some(_) => Err(InvalidUrl::new("a port is no number between 1 and 65535")),
    }
}

fn decode(text: &str, part: &str) -> Result<String, InvalidUrl> {
    let decoded = percent_decode_str(text).decode_utf8();
    let decoded = decoded.map_err(|_| InvalidUrl(format!("the {part} is no UTF-8")))?;
    Ok(decoded.into_owned())
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Config {
        servers: Vec<String>,
        user: Option<String>,
        #[serde(default)]
        batch: u32,
        #[serde(default)]
        sync: bool,
    }

    fn parse(url: &str) -> Result<Config, InvalidUrl> {
        let url = BrokerUrl::parse(url, &["kafka", "kafkas"])?;
        let hosts = url.hosts_with_port(9092)?;
        let mut parts: Vec<_> = hosts.iter().map(|host| ("servers", host.as_str())).collect();
        parts.extend(url.user.as_deref().map(|user| ("user", user)));
        url.config(&parts)
    }

    #[test]
    fn parts_and_options_make_a_configuration() {
        let config = parse("KAFKA://a%40b@one,[::1]:9,two:9093/?batch=7&sync=true").unwrap();
        let servers = ["one:9092", "[::1]:9", "two:9093"].map(str::to_owned).into();
        let user = Some("a@b".to_owned());
        assert_eq!(config, Config { servers, user, batch: 7, sync: true });
        let url = BrokerUrl::parse("kafka://u:p%2Fw@h/a%20b", &["kafka"]).unwrap();
        assert_eq!(url.password.as_deref(), Some("p/w"));
        assert_eq!(url.path, "a b");
    }

    #[test]
    fn options_can_be_taken_out() {
        let dotted = |url: &str| {
            let mut url = BrokerUrl::parse(url, &["kafka"]).unwrap();
            let taken = url.take_options(|name| name.contains('.'))?;
            Ok((taken, url.config::<Config>(&[("servers", "h")])?.batch))
        };
        let (taken, batch) = dotted("kafka://h?a.b=1%262&batch=7&c.d").unwrap();
        assert_eq!(taken, [("a.b", "1&2"), ("c.d", "")].map(|(n, v)| (n.into(), v.into())));
        assert_eq!(batch, 7);
        let twice: InvalidUrl = dotted("kafka://h?a.b=1&a.b=canary").unwrap_err();
        assert_eq!(twice.to_string(), "the option `a.b` is there twice");
    }

    #[test]
    fn what_is_wrong_is_named_and_no_secret_is() {
        for (url, says) in [
            ("amqp://u:canary@h", "it does not begin with `kafka://`"),
            ("kafka:canary", "it does not begin with `kafka://`"),
            ("kafka://", "it names no host"),
            ("kafka://h:0", "a port is no number between 1 and 65535"),
            ("kafka://u:can/ary@h", "must be percent-encoded"),
            ("kafka://u:can#ary@h", "must be percent-encoded"),
            // Seen to be quoted as the name of an option.
            ("kafka://u:1?canary@h", "must be percent-encoded"),
            ("kafka://u@v:1?canary@h", "must be percent-encoded"),
            ("kafka://u:%ff@h", "the password is no UTF-8"),
            ("kafka://h?bach=1", "unknown field `bach`"),
            ("kafka://h?batch=canary", "option `batch`: invalid digit"),
            ("kafka://u@h?user=v", "the option `user` is there twice"),
        ] {
            let error = parse(url).unwrap_err().to_string();
            assert!(error.contains(says), "{url}: {error}");
            assert!(!error.contains("canary"), "{error}");
        }
        let url = BrokerUrl::parse("kafka://u:canary@h?token=canary", &["kafka"]).unwrap();
        assert!(!format!("{url:?}").contains("canary"));
    }
}
