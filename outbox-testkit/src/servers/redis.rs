//! Redis.

use std::process::Command;

use super::free_ports;
use super::server::{Kind, Server};

/// Any answer but that it is loading will do: it may want a password.
const KIND: Kind = Kind {
    name: "redis-server",
    url: "redis://{}",
    question: b"PING\r\n",
    is_answer: |heard| heard.ends_with(b"\r\n") && !heard.starts_with(b"-LOADING"),
    stop: "TERM",
};

/// A Redis server that writes every command to its disk at once, with `settings` of its command
/// line besides.
pub async fn redis(settings: &[&str]) -> Server {
    redis_on(|| free_ports::<1>()[0], settings).await
}

/// On a port of the caller's choice; another is asked for while it isn't free.
pub async fn redis_on(port: impl Fn() -> u16, settings: &[&str]) -> Server {
    let settings: Vec<_> = settings.iter().map(|&word| word.to_owned()).collect();
    Server::start(
        KIND,
        || vec![port()],
        move |directory, ports| {
            let mut server = Command::new("redis-server");
            server.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
            server.args(["--appendfsync", "always", "--port", &ports[0].to_string()]);
            server.arg("--dir").arg(directory).args(&settings);
            server
        },
    )
    .await
}
