//! NATS with JetStream: the oldest and the newest version that we support.

use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context, Result};

use super::daemon::Home;
use super::{Service, ask, install};
use crate::process;

/// Debian 12's own, 2.9.
pub(super) const OLDEST: Nats =
    Nats { name: "nats", port: 14222, variable: "OUTBOX_TEST_NATS", source: Source::Debian };

/// Built from its Go module: Debian doesn't have it.
pub(super) const NEWEST: Nats = Nats {
    name: "nats-newest",
    port: 14223,
    variable: "OUTBOX_TEST_NATS_NEWEST",
    source: Source::Go { version: "2.15.2" },
};

pub(super) struct Nats {
    name: &'static str,
    port: u16,
    variable: &'static str,
    source: Source,
}

enum Source {
    Debian,
    Go { version: &'static str },
}

const PROGRAM: &str = "nats-server";

/// Asks JetStream, by its own subject, for the limits of our account.
const QUESTION: &[u8] = b"CONNECT {\"verbose\":false}\r\n\
    SUB answer 1\r\n\
    PUB $JS.API.INFO answer 0\r\n\r\n";

impl Service for Nats {
    fn name(&self) -> &'static str {
        self.name
    }

    fn port(&self) -> u16 {
        self.port
    }

    fn variable(&self) -> &'static str {
        self.variable
    }

    fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    fn ask(&self) -> Result<()> {
        let version = match self.source {
            Source::Debian => "\"version\":\"2.".to_owned(),
            Source::Go { version } => format!("\"version\":\"{version}\""),
        };
        ask::tcp(self.port, QUESTION, &[version.as_bytes(), b"MSG answer 1 ", b"\"limits\":"])
    }

    fn install(&self, home: &Home) -> Result<()> {
        if self.program(home).is_some() {
            return Ok(());
        }
        match self.source {
            Source::Debian => install::debian(&[PROGRAM]),
            Source::Go { version } => {
                let module = format!("github.com/nats-io/nats-server/v2@v{version}");
                install::go(&module, &home.path(version))
            }
        }
    }

    fn start(&self, home: &Home) -> Result<Child> {
        let program = self.program(home).with_context(|| format!("no {PROGRAM} here"))?;
        let mut server = Command::new(program);
        server.args(["--addr", "127.0.0.1", "--port", &self.port.to_string()]);
        server.arg("--jetstream").arg("--store_dir").arg(home.path("data"));
        home.spawn(&server)
    }
}

impl Nats {
    fn program(&self, home: &Home) -> Option<PathBuf> {
        match self.source {
            Source::Debian => process::find(PROGRAM),
            Source::Go { version } => {
                Some(home.path(version).join(PROGRAM)).filter(|path| path.is_file())
            }
        }
    }
}
