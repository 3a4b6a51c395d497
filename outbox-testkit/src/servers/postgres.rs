//! PostgreSQL.

use super::account::{give, prepare, program};
use super::free_ports;
use super::server::{Kind, Server, has};

/// It lets our user in, and is ready for queries.
const KIND: Kind = Kind {
    name: "postgres",
    url: "postgres://outbox@{}/postgres",
    question: b"\0\0\0\x27\0\x03\0\0user\0outbox\0database\0postgres\0\0",
    is_answer: |heard| has(heard, b"Z\0\0\0\x05I"),
    // At `TERM` it waits for every client to leave.
    stop: "INT",
};

/// No such server runs as root.
const ACCOUNT: &str = "postgres";

/// PostgreSQL, as durable as it is by default, with more `settings` of its command line.
pub async fn postgres(settings: &[&str]) -> Server {
    let settings: Vec<_> = settings.iter().map(|&word| word.to_owned()).collect();
    let ports = || free_ports::<1>().to_vec();
    Server::start(KIND, ports, move |directory, ports| {
        let data = directory.join("data");
        if !data.exists() {
            give(directory, ACCOUNT);
            let mut initdb = program("initdb", ACCOUNT);
            initdb.arg("-D").arg(&data).args(["--username=outbox", "--auth=trust"]);
            initdb.args(["--locale=C", "--encoding=UTF8", "--no-sync"]).current_dir(directory);
            prepare(initdb);
        }
        let mut server = program("postgres", ACCOUNT);
        server.arg("-D").arg(data).args(["-p", &ports[0].to_string()]);
        server.args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="]);
        server.args(settings.iter().flat_map(|setting| ["-c", setting]));
        server
    })
    .await
}
