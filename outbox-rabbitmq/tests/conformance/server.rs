//! A broker of a test's own, that it may kill and stop.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::rabbit::VARIABLE;

const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CONTROL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";

/// On free ports, with a directory of its own. It is killed when it is dropped.
pub(crate) struct Server {
    directory: TempDir,
    ports: [u16; 3],
    /// The registry of nodes, and the node if it runs.
    registry: Child,
    node: Option<Child>,
}

impl Server {
    /// `None`, and a word, where there is no RabbitMQ to start.
    pub(crate) async fn start() -> Option<Self> {
        Self::start_with("", "").await
    }

    pub(crate) async fn start_with(settings: &str, plugins: &str) -> Option<Self> {
        if !Path::new(PROGRAM).exists() || std::env::var_os(VARIABLE).is_none() {
            skip(&format!("no {PROGRAM}, or {VARIABLE} is not set"));
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        let ports = free_ports();
        let settings = format!(
            "listeners.tcp.default = 127.0.0.1:{}\ndisk_free_limit.absolute = 50MB\n\
             log.file = false\nlog.console = false\n{settings}",
            ports[0]
        );
        std::fs::write(directory.path().join("rabbitmq.conf"), settings).unwrap();
        std::fs::write(directory.path().join("plugins"), format!("[{plugins}].\n")).unwrap();
        let mut epmd = Command::new("epmd");
        epmd.args(["-address", "127.0.0.1", "-port", &ports[1].to_string()]);
        let registry = silent(&mut epmd).spawn().unwrap();
        let mut server = Self { directory, ports, registry, node: None };
        server.start_again().await;
        Some(server)
    }

    /// What clients connect to.
    pub(crate) fn host(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    pub(crate) fn url(&self) -> String {
        format!("amqp://guest:guest@{}/%2f", self.host())
    }

    /// Starts the node and waits until it lets clients in.
    pub(crate) async fn start_again(&mut self) {
        let mut command = self.command(PROGRAM);
        let arguments = "+sbwt none +S 2:2 -kernel inet_dist_use_interface {127,0,0,1}";
        command.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", arguments);
        // The node itself in the place of the script that would wait for it.
        command.env("RUNNING_UNDER_SYSTEMD", "true");
        self.node = Some(silent(&mut command).spawn().unwrap());
        for _ in 0..600 {
            let properties = lapin::ConnectionProperties::default();
            if let Ok(connection) = lapin::Connection::connect(&self.url(), properties).await {
                connection.close(200, "".into()).await.unwrap();
                return;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        panic!("RabbitMQ doesn't start");
    }

    /// As a crash does.
    pub(crate) fn kill(&mut self) {
        let mut node = self.node.take().unwrap();
        node.kill().unwrap();
        node.wait().unwrap();
    }

    /// `STOP` or `CONT`.
    pub(crate) fn signal(&self, signal: &str) {
        let pid = self.node.as_ref().unwrap().id().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status().unwrap();
        assert!(status.success());
    }

    /// Runs `rabbitmqctl`.
    pub(crate) async fn control(&self, arguments: &[&str]) {
        let mut command = self.command(CONTROL);
        silent(command.args(arguments));
        let status = tokio::task::spawn_blocking(move || command.status()).await;
        assert!(status.unwrap().unwrap().success(), "{arguments:?}");
    }

    fn command(&self, program: &str) -> Command {
        let path = |name: &str| self.directory.path().join(name);
        let mut command = Command::new(program);
        command
            .env("HOME", self.directory.path())
            .env("ERL_EPMD_PORT", self.ports[1].to_string())
            .env("ERL_EPMD_ADDRESS", "127.0.0.1")
            .env("RABBITMQ_NODENAME", format!("own{}@localhost", self.ports[0]))
            .env("RABBITMQ_DIST_PORT", self.ports[2].to_string())
            .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
            .env("RABBITMQ_CONFIG_FILE", path("rabbitmq.conf"))
            .env("RABBITMQ_ENABLED_PLUGINS_FILE", path("plugins"))
            .env("RABBITMQ_MNESIA_BASE", path("data"))
            .env("RABBITMQ_LOG_BASE", path("logs"));
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for child in self.node.iter_mut().chain([&mut self.registry]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn silent(command: &mut Command) -> &mut Command {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null())
}

pub(crate) fn free_ports<const N: usize>() -> [u16; N] {
    let listeners = [(); N].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

/// Says that a test did not run. Where `CI` is set it must run.
#[expect(clippy::print_stderr, reason = "a skipped test must not look passed")]
pub(crate) fn skip(reason: &str) {
    assert!(std::env::var_os("CI").is_none(), "can't run: {reason}");
    eprintln!("SKIPPED: {reason}");
}
