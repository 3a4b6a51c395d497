//! NATS with JetStream.

use std::fs;
use std::process::Command;

use super::free_ports;
use super::server::{Kind, Server, has};

/// It speaks first.
const KIND: Kind = Kind {
    name: "nats-server",
    url: "nats://{}",
    question: b"",
    is_answer: |heard| has(heard, b"INFO {"),
};

/// A NATS server with JetStream, and with `settings` of its configuration file besides. The
/// variable `OUTBOX_TEST_NATS_SERVER` names another program than that on the path.
pub async fn nats(settings: &str) -> Server {
    let settings = settings.to_owned();
    let ports = || free_ports::<1>().to_vec();
    Server::start(KIND, ports, move |directory, ports| {
        let store = directory.join("store");
        let configuration = format!(
            "listen: \"127.0.0.1:{}\"\njetstream {{ store_dir: \"{}\" }}\n{settings}\n",
            ports[0],
            store.display()
        );
        let path = directory.join("server.conf");
        fs::write(&path, configuration).unwrap();
        let program = std::env::var_os("OUTBOX_TEST_NATS_SERVER");
        let mut server = Command::new(program.unwrap_or_else(|| "nats-server".into()));
        server.arg("-c").arg(path);
        server
    })
    .await
}
