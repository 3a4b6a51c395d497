//! RabbitMQ, Debian's own.

use std::fs;
use std::path::Path;
use std::process::Child;

use anyhow::{Result, bail};

use super::daemon::Home;
use super::{NAME, Service, account, ask, install};

pub(super) struct RabbitMq;

const PORT: u16 = 15673;

/// Nodes that run side by side find each other here: ours shall find nobody.
const NODES_PORT: u16 = 14369;

/// For other nodes, and for `rabbitmqctl`.
const NODE_PORT: u16 = 25673;

const ACCOUNT: &str = "rabbitmq";

/// Not the one on the `PATH`, which wants to be root and to log where the system's own server does.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// The registry of nodes would outlive the broker as a daemon: as its child it ends with it. The argument is what we
/// know our process by.
const SCRIPT: &str = "\
    setpriv --pdeathsig TERM epmd &
    exec \"$0\" -outbox \"$1\"";

impl Service for RabbitMq {
    fn name(&self) -> &'static str {
        "rabbitmq"
    }

    fn port(&self) -> u16 {
        PORT
    }

    fn variable(&self) -> &'static str {
        "OUTBOX_TEST_RABBITMQ"
    }

    fn url(&self) -> String {
        format!("amqp://{NAME}:{NAME}@127.0.0.1:{PORT}/%2f")
    }

    /// Opens a connection as our user, and closes it.
    fn ask(&self) -> Result<()> {
        let mut question = b"AMQP\x00\x00\x09\x01".to_vec();
        let login = format!("\0{NAME}\0{NAME}");
        // No properties of the client, how it logs in, its answer, its language.
        let start_ok = [&[0; 4], &short("PLAIN")[..], &long(&login), &short("en_US")].concat();
        question.extend(method(11, &start_ok));
        // Channels, size of frames, seconds between heartbeats.
        question.extend(method(31, &[0, 1, 0, 2, 0, 0, 0, 0]));
        // The virtual host, and two fields that are reserved.
        question.extend(method(40, &[&short("/")[..], &[0, 0]].concat()));
        // Goodbye: without it, the log has a line on each lost connection.
        question.extend(method(50, &[0, 200, 0, 0, 0, 0, 0]));
        let answer = |number| [0, 10, 0, number];
        ask::tcp(PORT, &question, &[&answer(41), &answer(51)])
    }

    fn install(&self, _: &Home) -> Result<()> {
        if !Path::new(PROGRAM).is_file() {
            install::debian(&["rabbitmq-server"])?;
        }
        if !Path::new(PROGRAM).is_file() {
            bail!("no {PROGRAM}");
        }
        Ok(())
    }

    fn start(&self, home: &Home) -> Result<Child> {
        let (configuration, plugins) = (home.path("rabbitmq.conf"), home.path("enabled_plugins"));
        fs::write(&configuration, settings())?;
        fs::write(&plugins, "[].\n")?;
        account::give(ACCOUNT, home.root())?;
        let mut server = account::command(ACCOUNT, Path::new("sh"), home.root());
        server.args(["-c", SCRIPT, PROGRAM]).arg(home.root());
        // The cookie, by which nodes trust each other, lies there.
        server.env("HOME", home.root());
        server.env("ERL_EPMD_ADDRESS", "127.0.0.1").env("ERL_EPMD_PORT", NODES_PORT.to_string());
        server.env("RABBITMQ_NODENAME", format!("{NAME}@localhost"));
        server.env("RABBITMQ_DIST_PORT", NODE_PORT.to_string());
        server.env("RABBITMQ_CONF_ENV_FILE", "/dev/null");
        server.env("RABBITMQ_CONFIG_FILE", configuration);
        server.env("RABBITMQ_ENABLED_PLUGINS_FILE", plugins);
        server.env("RABBITMQ_MNESIA_BASE", home.path("data"));
        server.env("RABBITMQ_LOG_BASE", home.path("logs"));
        // The server itself in the place of the script that would wait for it.
        server.env("RUNNING_UNDER_SYSTEMD", "true");
        server.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", ON_LOOPBACK);
        home.spawn(&server)
    }
}

const ON_LOOPBACK: &str = "-kernel inet_dist_use_interface {127,0,0,1}";

/// The first start of all makes the user.
fn settings() -> String {
    format!(
        "\
listeners.tcp.default = 127.0.0.1:{PORT}
default_user = {NAME}
default_pass = {NAME}
log.console = true
log.console.level = warning
log.file = false
"
    )
}

/// A method of the class "connection", in a frame of the channel 0.
fn method(number: u8, fields: &[u8]) -> Vec<u8> {
    let method = [&[0, 10, 0, number], fields].concat();
    [&[1, 0, 0], &long_bytes(&method)[..], &[0xce]].concat()
}

fn short(text: &str) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("a short text")], text.as_bytes()].concat()
}

fn long(text: &str) -> Vec<u8> {
    long_bytes(text.as_bytes())
}

fn long_bytes(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a text of some bytes");
    [&length.to_be_bytes(), bytes].concat()
}
