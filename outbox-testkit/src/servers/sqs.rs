//! SQS, as `LocalStack` plays it: in memory only.

use std::process::Command;

use super::server::{Kind, Server, has};
use super::{free_ports, newest};

const KIND: Kind = Kind {
    name: "sqs",
    url: "sqs://{}?region=us-east-1&access_key_id=test&secret_access_key=test",
    question: b"GET /_localstack/health HTTP/1.1\r\nHost: localhost\r\n\r\n",
    is_answer: |heard| has(heard, b"HTTP/1.1 200") && has(heard, b"\"sqs\": \"running\""),
    stop: "TERM",
};

/// SQS at once and nothing else, and nothing fetched from elsewhere.
const SETTINGS: [(&str, &str); 8] = [
    ("GATEWAY_SERVER", "hypercorn"),
    ("SERVICES", "sqs"),
    ("STRICT_SERVICE_LOADING", "1"),
    ("EAGER_SERVICE_LOADING", "1"),
    ("DISABLE_EVENTS", "1"),
    ("SKIP_SSL_CERT_DOWNLOAD", "1"),
    ("DNS_ADDRESS", "0"),
    ("SQS_ENDPOINT_STRATEGY", "path"),
];

/// A service whose queues are gone after a kill.
pub async fn sqs() -> Server {
    let python = newest("sqs", "bin/python").join("bin/python");
    Server::start(
        KIND,
        || free_ports::<1>().to_vec(),
        move |directory, ports| {
            let mut server = Command::new(&python);
            server.args(["-m", "localstack.runtime.main"]).envs(SETTINGS);
            let address = format!("127.0.0.1:{}", ports[0]);
            server.env("GATEWAY_LISTEN", &address).env("LOCALSTACK_HOST", address);
            server.env("FILESYSTEM_ROOT", directory.join("data"));
            server
        },
    )
    .await
}
