//! NATS with JetStream: the oldest and the newest version that we support.

use std::path::PathBuf;
use std::process::{Child, Command};

use anyhow::{Context, Result};

use super::daemon::Home;
use super::{Service, ask, install};
use crate::process;

/// Debian 12's own.
pub(super) const OLDEST: Nats =
    Nats { name: "nats", port: 14222, variable: "OUTBOX_TEST_NATS", source: Source::Debian };

/// Another on the path would be neither the oldest nor noticed.
const DEBIANS: &str = "2.9.";

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
            Source::Debian => format!("\"version\":\"{DEBIANS}"),
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Result, Write};
    use std::net::{Ipv4Addr, TcpListener};
    use std::thread;

    use super::*;

    /// Whatever began with `2.` counted as the oldest.
    #[test]
    fn another_version_is_another_service() -> Result<()> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let port = listener.local_addr()?.port();
        let versions = ["2.9.10", "2.15.2"];
        let server = thread::spawn(move || -> Result<()> {
            for version in [versions, versions].as_flattened() {
                let (mut stream, _) = listener.accept()?;
                write!(stream, "INFO {{\"version\":\"{version}\"}}\r\n")?;
                stream.read_exact(&mut [0; QUESTION.len()])?;
                stream.write_all(b"MSG answer 1 20\r\n{\"limits\":{}}\r\n")?;
            }
            Ok(())
        });
        let oldest = Nats { port, ..OLDEST };
        let newest = Nats { port, ..NEWEST };
        let answers = [&oldest, &oldest, &newest, &newest].map(|nats| nats.ask().is_ok());
        assert_eq!(answers, [true, false, false, true]);
        server.join().expect("the server is there to the end")
    }
}
