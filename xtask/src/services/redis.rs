//! Redis, Debian's own.

use std::process::{Child, Command};

use anyhow::{Context, Result};

use super::daemon::Home;
use super::{Service, ask, install};
use crate::process;

pub(super) struct Redis;

const PORT: u16 = 16379;

const PROGRAM: &str = "redis-server";

/// Its title would hide the command line, by which we know our process again.
const SETTINGS: [[&str; 2]; 5] = [
    ["--bind", "127.0.0.1"],
    ["--daemonize", "no"],
    ["--set-proc-title", "no"],
    ["--appendonly", "yes"],
    ["--save", ""],
];

impl Service for Redis {
    fn name(&self) -> &'static str {
        "redis"
    }

    fn port(&self) -> u16 {
        PORT
    }

    fn variable(&self) -> &'static str {
        "OUTBOX_TEST_REDIS"
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{PORT}")
    }

    /// While it still reads its data it answers, but not this.
    fn ask(&self) -> Result<()> {
        ask::tcp(PORT, b"PING\r\n", &[b"+PONG\r\n"])
    }

    fn install(&self, _: &Home) -> Result<()> {
        if process::find(PROGRAM).is_none() {
            install::debian(&[PROGRAM])?;
        }
        Ok(())
    }

    fn start(&self, home: &Home) -> Result<Child> {
        let program = process::find(PROGRAM).with_context(|| format!("no {PROGRAM} here"))?;
        let mut server = Command::new(program);
        server.args(["--port", &PORT.to_string()]).arg("--dir").arg(home.root());
        server.args(SETTINGS.as_flattened());
        home.spawn(&server)
    }
}
