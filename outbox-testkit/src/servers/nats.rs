//! NATS with JetStream.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::server::{Kind, Server, has};
use super::{free_ports, missing, newest};

/// It speaks first.
const KIND: Kind = Kind {
    name: "nats-server",
    url: "nats://{}",
    question: b"",
    is_answer: |heard| has(heard, b"INFO {"),
    stop: "TERM",
};

/// The oldest NATS server that we support, with JetStream, and with `settings` of its configuration
/// file besides.
pub async fn nats(settings: &str) -> Server {
    let program = PathBuf::from("nats-server");
    let version = Command::new(&program).arg("--version").output();
    if !version.is_ok_and(|version| has(&version.stdout, b" v2.9.")) {
        missing("nats-server 2.9");
    }
    start(program, settings).await
}

/// The newest that we support.
pub async fn nats_newest(settings: &str) -> Server {
    start(newest("nats-newest", "nats-server").join("nats-server"), settings).await
}

async fn start(program: PathBuf, settings: &str) -> Server {
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
        let mut server = Command::new(&program);
        server.arg("-c").arg(path);
        server
    })
    .await
}
