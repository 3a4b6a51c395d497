//! PgBouncer.

use std::fs;

use super::account::{give, program};
use super::server::{Kind, Server};
use super::{free_ports, shared};

/// Asked for encryption, it has none.
const KIND: Kind = Kind {
    name: "pgbouncer",
    url: "postgres://outbox:outbox@{}/outbox",
    question: &[0, 0, 0, 8, 4, 210, 22, 47],
    is_answer: |heard| heard == b"N",
    stop: "INT",
};

/// Debian's account for it: it doesn't run as root.
const ACCOUNT: &str = "postgres";

/// In front of the shared PostgreSQL, in that `mode` (`transaction`, `session`) and otherwise with
/// the settings that it comes with: it lets in whoever asks, to any database, over as many
/// connections to the server as `connections` says.
pub async fn pgbouncer(mode: &str, connections: u8) -> Server {
    let target = target(&shared("OUTBOX_TEST_POSTGRES")).expect("a URL with user and port");
    let settings = format!("pool_mode = {mode}\ndefault_pool_size = {connections}");
    let ports = || free_ports::<1>().to_vec();
    Server::start(KIND, ports, move |directory, ports| {
        let file = directory.join("pgbouncer.ini");
        let configuration = format!(
            "[databases]\n* = {target}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {}\n\
             unix_socket_dir =\nauth_type = any\n{settings}\n",
            ports[0]
        );
        fs::write(&file, configuration).unwrap();
        give(directory, ACCOUNT);
        let mut server = program(KIND.name, ACCOUNT);
        server.arg(file);
        server
    })
    .await
}

/// Where `postgres://USER:PASSWORD@HOST:PORT/DATABASE` is, as PgBouncer has it.
fn target(url: &str) -> Option<String> {
    let (login, place) = url.strip_prefix("postgres://")?.split_once('@')?;
    let (user, password) = login.split_once(':')?;
    let (host, port) = place.split('/').next()?.rsplit_once(':')?;
    Some(format!("host={host} port={port} user={user} password={password}"))
}
