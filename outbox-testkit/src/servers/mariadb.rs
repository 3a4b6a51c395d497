//! MariaDB.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::account::{certify, give, prepare, program};
use super::server::{Kind, Server, has};
use super::{Certificates, free_ports};

/// It speaks first, once it serves clients.
const KIND: Kind = Kind {
    name: "mariadbd",
    url: "mysql://root@{}/outbox",
    question: b"",
    is_answer: |heard| has(heard, b"mysql_native_password"),
    stop: "TERM",
};

/// No such server runs as root.
const ACCOUNT: &str = "mysql";

/// MariaDB, as durable as it is by default, with a database `outbox`, and with more `settings` of
/// its command line. Each start has a `server-id` of its own, as the server has that takes over from
/// another.
pub async fn mariadb(settings: &[&str]) -> Server {
    let settings: Vec<_> = settings.iter().map(|&setting| setting.to_owned()).collect();
    start(move |_| settings.clone()).await
}

/// The same, which speaks TLS, too, as `server` of the certificates.
pub async fn mariadb_encrypted(certificates: &Arc<Certificates>) -> Server {
    let certificates = Arc::clone(certificates);
    start(move |directory| {
        let [certificate, key] = certify(directory, ACCOUNT, &certificates);
        let (certificate, key) = (certificate.display(), key.display());
        vec![format!("--ssl-cert={certificate}"), format!("--ssl-key={key}")]
    })
    .await
}

/// `settle` gives the settings of the command line, once there is data.
async fn start(settle: impl Fn(&Path) -> Vec<String> + Send + Sync + 'static) -> Server {
    let ports = || free_ports::<1>().to_vec();
    let starts = AtomicU32::new(0);
    Server::start(KIND, ports, move |directory, ports| {
        let (data, sql) = (directory.join("data"), directory.join("init.sql"));
        if !data.exists() {
            give(directory, ACCOUNT);
            let mut installer = program("mariadb-install-db", ACCOUNT);
            installer.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
            installer.args(["--auth-root-authentication-method=normal", "--skip-test-db"]);
            installer.current_dir(directory);
            prepare(installer);
            std::fs::write(&sql, "CREATE DATABASE IF NOT EXISTS outbox;\n").unwrap();
        }
        let mut server = program("mariadbd", ACCOUNT);
        server.arg("--no-defaults").arg(format!("--datadir={}", data.display()));
        server.arg(format!("--server-id={}", starts.fetch_add(1, Relaxed) + 1));
        server.arg(format!("--init-file={}", sql.display()));
        server.arg(format!("--port={}", ports[0]));
        server.arg(format!("--socket={}", directory.join("socket").display()));
        // Whoever looks whether it answers says nothing, which counts as a failure to connect.
        server.args(["--bind-address=127.0.0.1", "--skip-name-resolve"]);
        server.args(["--max-connect-errors=1000000"]).args(settle(directory));
        server
    })
    .await
}
