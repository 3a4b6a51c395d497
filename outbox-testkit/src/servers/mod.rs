//! Servers of a test's own, which it may kill, let stand still and start again.
//!
//! They run what `cargo xtask services` has installed, on free ports and in a temporary directory,
//! and end when they are dropped. Where one isn't installed the test fails: one that is left out
//! looks as if it had passed.

mod account;
mod certificates;
mod kafka;
mod mariadb;
mod nats;
mod pgbouncer;
mod postgres;
mod rabbitmq;
mod redis;
mod server;
mod sqs;

use std::collections::BTreeSet;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Mutex;

pub use certificates::Certificates;
pub use kafka::{kafka, kafka_with};
pub use mariadb::{mariadb, mariadb_encrypted};
pub use nats::{nats, nats_newest};
pub use pgbouncer::pgbouncer;
pub use postgres::{postgres, postgres_encrypted};
pub use rabbitmq::{rabbitmq, rabbitmq_beside, rabbitmqctl};
pub use redis::{redis, redis_on};
pub use server::Server;
pub use sqs::sqs;

/// The URL of a server that all tests share: from the variable, or where `cargo xtask services` has
/// it.
pub fn shared(variable: &str) -> String {
    let default = || SHARED.iter().find(|(name, _)| *name == variable).map(|(_, url)| *url);
    let url = std::env::var(variable).ok().or_else(|| default().map(str::to_owned));
    url.unwrap_or_else(|| panic!("no server is known by {variable}"))
}

/// `url` with these options, behind those that it has already.
pub fn with_options(url: &str, options: &str) -> String {
    let joint = if url.contains('?') { '&' } else { '?' };
    format!("{url}{joint}{options}")
}

const SHARED: [(&str, &str); 9] = [
    ("OUTBOX_TEST_POSTGRES", "postgres://outbox:outbox@127.0.0.1:54315/outbox"),
    ("OUTBOX_TEST_POSTGRES_NEWEST", "postgres://outbox:outbox@127.0.0.1:54318/outbox"),
    ("OUTBOX_TEST_MARIADB", "mysql://outbox:outbox@127.0.0.1:33061/outbox"),
    ("OUTBOX_TEST_KAFKA", "kafka://127.0.0.1:19092"),
    ("OUTBOX_TEST_NATS", "nats://127.0.0.1:14222"),
    ("OUTBOX_TEST_NATS_NEWEST", "nats://127.0.0.1:14223"),
    ("OUTBOX_TEST_RABBITMQ", "amqp://outbox:outbox@127.0.0.1:15673/%2f"),
    ("OUTBOX_TEST_REDIS", "redis://127.0.0.1:16379"),
    (
        "OUTBOX_TEST_SQS",
        "sqs://127.0.0.1:14566?region=us-east-1&access_key_id=test&secret_access_key=test",
    ),
];

/// Ports of this machine that nobody listens on, unless another process looks at the same time:
/// what was handed out once isn't again.
pub fn free_ports<const N: usize>() -> [u16; N] {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let mut given = GIVEN.lock().unwrap();
    [(); N].map(|()| {
        loop {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            if given.insert(port) {
                return port;
            }
        }
    })
}

/// The version of what `cargo xtask services` has installed under that name beside the system's
/// packages.
pub fn installed_version(name: &str) -> String {
    let versions = std::fs::read_dir(installed(name)).into_iter().flatten().filter_map(Result::ok);
    let versions = versions.map(|entry| entry.file_name().to_string_lossy().into_owned());
    let versions = versions.filter(|name| name.starts_with(|c: char| c.is_ascii_digit()));
    versions.max().unwrap_or_else(|| missing(name))
}

/// Where `cargo xtask services` has put what the system's packages don't have.
fn installed(name: &str) -> PathBuf {
    let home = std::env::var_os("OUTBOX_SERVICES_DIR");
    home.map_or_else(|| "/var/tmp/outbox-services".into(), PathBuf::from).join(name)
}

/// The directory of the newest version there that has `file`, in which `{}` stands for the version.
fn newest(name: &str, file: &str) -> PathBuf {
    let versions = std::fs::read_dir(installed(name)).into_iter().flatten().filter_map(Result::ok);
    let has_file = |directory: &PathBuf| {
        let version = directory.file_name().unwrap_or_default().to_string_lossy();
        directory.join(file.replace("{}", &version)).is_file()
    };
    let mut versions: Vec<_> = versions.map(|version| version.path()).filter(has_file).collect();
    versions.sort();
    versions.pop().unwrap_or_else(|| missing(name))
}

fn missing(name: &str) -> ! {
    panic!("this test needs {name}: run `cargo xtask services up`")
}
