//! Where to write, from a URL or a configuration file.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::FileError;

/// Where and how to write.
///
/// From a URL: `stdout:`, or `file:PATH` with an optional `?sync=false`. The path is relative to
/// the working directory or absolute (`file:/PATH`, `file:///PATH`), and percent-encoded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// Where the lines go.
    pub target: Target,
    /// Whether a file is synchronised to its disk before messages count as delivered. On by
    /// default; without it a power failure may lose them.
    #[serde(default = "on")]
    pub sync: bool,
}

/// Where the lines go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// Standard output.
    Stdout,
    /// The end of a file, which is created if it doesn't exist. Its directory is not.
    File(PathBuf),
}

impl FileConfig {
    /// To standard output.
    pub fn stdout() -> Self {
        Self { target: Target::Stdout, sync: true }
    }

    /// To the end of a file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        Self { target: Target::File(path.into()), sync: true }
    }
}

impl FromStr for FileConfig {
    type Err = FileError;

    fn from_str(url: &str) -> Result<Self, FileError> {
        let (scheme, rest) = url.split_once(':').unwrap_or((url, ""));
        match scheme {
            "stdout" if rest.is_empty() => Ok(Self::stdout()),
            "stdout" => Err(FileError::StdoutTakesNothing),
            "file" => {
                let (path, options) = rest.split_once('?').unwrap_or((rest, ""));
                Ok(Self { sync: sync(options)?, ..Self::file(decode(local(path)?)?) })
            }
            _ => Err(FileError::Scheme { scheme: scheme.chars().take(20).collect() }),
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Stdout => f.write_str("standard output"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

fn on() -> bool {
    true
}

fn local(path: &str) -> Result<&str, FileError> {
    let path = match path.strip_prefix("//") {
        Some(absolute) if absolute.starts_with('/') => absolute,
        Some("") => return Err(FileError::NoPath),
        Some(_) => return Err(FileError::Host),
        None => path,
    };
    if path.is_empty() { Err(FileError::NoPath) } else { Ok(path) }
}

fn sync(options: &str) -> Result<bool, FileError> {
    let mut sync = on();
    for option in options.split('&').filter(|option| !option.is_empty()) {
        sync = match option.split_once('=').unwrap_or((option, "")) {
            ("sync", value) => value.parse().map_err(|_| FileError::Sync)?,
            (name, _) => return Err(FileError::Option { name: name.to_owned() }),
        };
    }
    Ok(sync)
}

fn decode(path: &str) -> Result<String, FileError> {
    let mut pieces = path.split('%');
    let mut bytes = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        let digits = piece.get(..2).filter(|d| d.bytes().all(|byte| byte.is_ascii_hexdigit()));
        let digits = digits.ok_or(FileError::Encoding)?;
        bytes.push(u8::from_str_radix(digits, 16).map_err(|_| FileError::Encoding)?);
        bytes.extend_from_slice(&piece.as_bytes()[2..]);
    }
    String::from_utf8(bytes).map_err(|_| FileError::Encoding)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        let parse = |url: &str| url.parse::<FileConfig>().unwrap();
        assert_eq!(parse("stdout:"), FileConfig::stdout());
        assert_eq!(parse("file:out.jsonl"), FileConfig::file("out.jsonl"));
        assert_eq!(parse("file:/tmp/out"), FileConfig::file("/tmp/out"));
        assert_eq!(parse("file:///tmp/out"), FileConfig::file("/tmp/out"));
        assert_eq!(parse("file:/a%20b%3F/%C3%A4?sync=true"), FileConfig::file("/a b?/ä"));
        assert!(!parse("file:/tmp/out?sync=false").sync);
    }

    #[test]
    fn malformed_urls_say_what_is_wrong() {
        let error = |url: &str| url.parse::<FileConfig>().unwrap_err().to_string();
        let path = "`file:` needs a path, such as `file:/var/lib/events.jsonl`";
        let host = "`file://` is followed by a host: write `file:PATH` or `file:///PATH`";
        let encoding = "the path of the `file:` URL is not percent-encoded UTF-8";
        assert_eq!(error("file:"), path);
        assert_eq!(error("file://"), path);
        assert_eq!(error("file:?sync=true"), path);
        assert_eq!(error("file://host/path"), host);
        assert_eq!(error("file:/100%"), encoding);
        assert_eq!(error("file:/%+1"), encoding);
        assert_eq!(error("file:/%ff"), encoding);
        assert_eq!(error("file:/a?fsync=1"), "`file:` has no option `fsync`, only `sync`");
        assert_eq!(error("file:/a?sync=1"), "the option `sync` is `true` or `false`");
        assert_eq!(error("stdout:/a"), "`stdout:` takes no path and no options");
        assert_eq!(error(""), "`:` is neither `stdout:` nor `file:PATH`");
    }

    #[test]
    fn a_url_of_another_kind_is_not_shown() {
        let error = "kafka://user:canary@host".parse::<FileConfig>().unwrap_err();
        assert_eq!(error.to_string(), "`kafka:` is neither `stdout:` nor `file:PATH`");
    }

    #[test]
    fn configuration_files() {
        let parse = |json: &str| serde_json::from_str::<FileConfig>(json);
        assert_eq!(parse(r#"{"target":"stdout"}"#).unwrap(), FileConfig::stdout());
        let file = parse(r#"{"target":{"file":"/tmp/out"},"sync":false}"#).unwrap();
        assert_eq!(file, FileConfig { sync: false, ..FileConfig::file("/tmp/out") });
        assert!(parse(r#"{"target":"stdout","fsync":true}"#).is_err());
    }
}
