//! PostgreSQL.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::account::{certify, give, prepare, program};
use super::server::{Kind, Server, has};
use super::{Certificates, free_ports};

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
    let settings: Vec<_> = settings.iter().map(|&setting| setting.to_owned()).collect();
    start(move |_| settings.clone()).await
}

/// The same, which speaks TLS, too, as `server` of the certificates. A user `relay` is let in only
/// so.
pub async fn postgres_encrypted(certificates: &Arc<Certificates>) -> Server {
    let certificates = Arc::clone(certificates);
    start(move |directory| {
        // The first line that fits counts.
        let file = directory.join("data").join("pg_hba.conf");
        let others = fs::read_to_string(&file).unwrap();
        fs::write(&file, format!("hostnossl all relay all reject\n{others}")).unwrap();
        let [certificate, key] = certify(directory, ACCOUNT, &certificates);
        let files = [("ssl_cert_file", certificate), ("ssl_key_file", key)];
        let files = files.map(|(name, file)| format!("{name}={}", file.display()));
        [vec!["ssl=on".to_owned()], files.to_vec()].concat()
    })
    .await
}

/// `settle` gives the settings of the command line, once there is data.
async fn start(settle: impl Fn(&Path) -> Vec<String> + Send + Sync + 'static) -> Server {
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
        for setting in settle(directory) {
            server.arg("-c").arg(setting);
        }
        server
    })
    .await
}
