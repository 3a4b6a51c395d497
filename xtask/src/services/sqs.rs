//! SQS, as `LocalStack` plays it: in Python, and in memory only.

use std::process::{Child, Command};

use anyhow::Result;

use super::daemon::Home;
use super::{Service, ask, install};

pub(super) struct LocalStack;

const PORT: u16 = 14566;

/// Its directory, too: another version is installed beside it.
const VERSION: &str = "4.13.1";

/// Newer ones of the last four don't work with it.
const COMPANIONS: [&str; 5] =
    ["moto-ext==5.1.54", "cbor2<5.8", "pyopenssl<26", "cryptography<47", "service_identity"];

/// SQS at once and nothing else, and nothing fetched from elsewhere.
const SETTINGS: [(&str, &str); 8] = [
    ("GATEWAY_SERVER", "hypercorn"),
    ("SERVICES", "sqs"),
    ("STRICT_SERVICE_LOADING", "1"),
    ("EAGER_SERVICE_LOADING", "1"),
    ("DISABLE_EVENTS", "1"),
    ("SKIP_SSL_CERT_DOWNLOAD", "1"),
    ("DNS_ADDRESS", "0"),
    ("SQS_ENDPOINT_STRATEGY", "path"),
];

impl Service for LocalStack {
    fn name(&self) -> &'static str {
        "sqs"
    }

    fn port(&self) -> u16 {
        PORT
    }

    fn variable(&self) -> &'static str {
        "OUTBOX_TEST_SQS"
    }

    fn url(&self) -> String {
        format!("sqs://127.0.0.1:{PORT}?region=us-east-1&access_key_id=test&secret_access_key=test")
    }

    fn ask(&self) -> Result<()> {
        let question = "GET /_localstack/health HTTP/1.1\r\nHost: localhost\r\n\r\n";
        ask::tcp(PORT, question.as_bytes(), &[b"HTTP/1.1 200", b"\"sqs\": \"running\""])
    }

    fn install(&self, home: &Home) -> Result<()> {
        let localstack = format!("localstack-core[base-runtime]=={VERSION}");
        let packages = [&[localstack.as_str()], &COMPANIONS[..]].concat();
        home.make(VERSION, |directory| install::python(&packages, directory))?;
        Ok(())
    }

    fn start(&self, home: &Home) -> Result<Child> {
        let mut server = Command::new(home.path(VERSION).join("bin").join("python"));
        server.args(["-m", "localstack.runtime.main"]).envs(SETTINGS);
        let address = format!("127.0.0.1:{PORT}");
        server.env("GATEWAY_LISTEN", &address).env("LOCALSTACK_HOST", address);
        server.env("FILESYSTEM_ROOT", home.path("data"));
        home.spawn(&server)
    }

    /// It may not hear any other, and has nothing to write down.
    fn stop_signal(&self) -> &'static str {
        "KILL"
    }
}
