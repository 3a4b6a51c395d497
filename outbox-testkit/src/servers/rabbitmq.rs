//! RabbitMQ.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::server::{Kind, Server, has};
use super::{free_ports, missing};

/// Its listeners are opened last: it answers the header of the protocol with `connection.start`.
const KIND: Kind = Kind {
    name: "rabbitmq-server",
    url: "amqp://guest:guest@{}/%2f",
    question: b"AMQP\x00\x00\x09\x01",
    is_answer: |heard| has(heard, &[0, 10, 0, 10]),
    stop: "TERM",
};

/// Not those on the path, which want to be root and to log where the system's own server does.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";
const CONTROL: &str = "/usr/lib/rabbitmq/bin/rabbitmqctl";

/// The registry of nodes would outlive the node as a daemon: as its child it ends with it. Where
/// another node has one on this port already, this one ends at once.
const SCRIPT: &str = "setpriv --pdeathsig KILL epmd & exec \"$0\"";

/// A RabbitMQ node with `settings` of its configuration file and `plugins`, separated by commas.
/// Its user is `guest`, with that password.
pub async fn rabbitmq(settings: &str, plugins: &str) -> Server {
    if !Path::new(PROGRAM).exists() {
        missing(KIND.name);
    }
    // For clients, the registry of nodes, and the node among others.
    start(settings, plugins, None, || free_ports::<3>().to_vec()).await
}

/// A second node, in one cluster with `first`.
pub async fn rabbitmq_beside(first: &Server) -> Server {
    let registry = first.ports()[1];
    let ports = || {
        let [clients, nodes] = free_ports();
        vec![clients, registry, nodes]
    };
    let secret = first.directory().join(SECRET);
    let second = start("", "", Some(secret), ports).await;
    for command in [&["stop_app"][..], &["join_cluster", &name(first.ports())], &["start_app"]] {
        rabbitmqctl(&second, command).await;
    }
    second
}

async fn start(
    settings: &str,
    plugins: &str,
    secret: Option<PathBuf>,
    ports: impl Fn() -> Vec<u16>,
) -> Server {
    let (settings, plugins) = (settings.to_owned(), format!("[{plugins}].\n"));
    Server::start(KIND, ports, move |directory, ports| {
        if let Some(secret) = &secret
            && !directory.join(SECRET).exists()
        {
            fs::copy(secret, directory.join(SECRET)).unwrap();
        }
        let settings = format!(
            "listeners.tcp.default = 127.0.0.1:{}\ndisk_free_limit.absolute = 50MB\n\
             log.file = false\nlog.console = true\nlog.console.level = warning\n{settings}",
            ports[0]
        );
        fs::write(directory.join("rabbitmq.conf"), settings).unwrap();
        fs::write(directory.join("plugins"), &plugins).unwrap();
        let mut server = in_node("sh", directory, ports);
        server.args(["-c", SCRIPT, PROGRAM]);
        let arguments = "+sbwt none +S 2:2 -kernel inet_dist_use_interface {127,0,0,1}";
        server.env("RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS", arguments);
        // The node itself in the place of the script that would wait for it.
        server.env("RUNNING_UNDER_SYSTEMD", "true");
        server
    })
    .await
}

/// What nodes that trust each other share, in the home directory.
const SECRET: &str = ".erlang.cookie";

/// Runs `rabbitmqctl` on a node.
pub async fn rabbitmqctl(server: &Server, arguments: &[&str]) {
    let mut control = in_node(CONTROL, server.directory(), server.ports());
    control.args(arguments).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || control.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
}

fn in_node(program: &str, directory: &Path, ports: &[u16]) -> Command {
    let mut command = Command::new(program);
    command
        .env("HOME", directory)
        .env("ERL_EPMD_PORT", ports[1].to_string())
        .env("ERL_EPMD_ADDRESS", "127.0.0.1")
        .env("RABBITMQ_NODENAME", name(ports))
        .env("RABBITMQ_DIST_PORT", ports[2].to_string())
        .env("RABBITMQ_CONF_ENV_FILE", "/dev/null")
        .env("RABBITMQ_CONFIG_FILE", directory.join("rabbitmq.conf"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", directory.join("plugins"))
        .env("RABBITMQ_MNESIA_BASE", directory.join("data"))
        .env("RABBITMQ_LOG_BASE", directory.join("logs"));
    command
}

fn name(ports: &[u16]) -> String {
    format!("own{}@localhost", ports[0])
}
