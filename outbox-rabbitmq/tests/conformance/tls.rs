//! TLS, with certificates that `openssl` makes.

use std::path::Path;
use std::process::{Command, Stdio};

use outbox_core::Outcome;
use outbox_rabbitmq::{RabbitMqConfig, RabbitMqError, RabbitMqPublisher};
use outbox_testkit::suite::publisher::PublisherHarness as _;

use crate::rabbit::{Rabbit, publish};
use crate::server::{Server, free_ports, skip};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked_and_can_be_the_login() {
    let directory = tempfile::tempdir().unwrap();
    if !make_certificates(directory.path()) {
        return skip("no `openssl`");
    }
    let path = |name: &str| directory.path().join(name);
    let [port] = free_ports();
    let settings = format!(
        "listeners.ssl.default = 127.0.0.1:{port}\nssl_options.cacertfile = {ca}\n\
         ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n\
         ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n\
         auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\n\
         ssl_cert_login_from = common_name\n",
        ca = path("ca.pem").display(),
        certificate = path("server.pem").display(),
        key = path("server.key").display(),
    );
    let plugin = "rabbitmq_auth_mechanism_ssl";
    let Some(server) = Server::start_with(&settings, plugin).await else { return };
    let rabbit = Rabbit::at(server.url(), &[]).await.unwrap();
    let complete = RabbitMqConfig {
        tls: true,
        ca_file: Some(path("ca.pem")),
        cert_file: Some(path("guest.pem")),
        key_file: Some(path("guest.key")),
        ..RabbitMqConfig::new(format!("127.0.0.1:{port}"))
    };
    // With the password, and with the name in the certificate.
    for external in [false, true] {
        let password = if external { "wrong" } else { "guest" }.into();
        let config = RabbitMqConfig { external, password, ..complete.clone() };
        let publisher = RabbitMqPublisher::connect(config).await.unwrap();
        let sent = [rabbit.message(), rabbit.bytes(1_000_000)];
        assert_eq!(publish(&publisher, &sent).await, vec![Outcome::Delivered; 2]);
    }
    assert_eq!(rabbit.arrived().await.len(), 4);
    let distrusting = RabbitMqConfig { ca_file: None, ..complete.clone() };
    let anonymous = RabbitMqConfig { cert_file: None, key_file: None, ..complete.clone() };
    for config in [distrusting, anonymous] {
        let error = RabbitMqPublisher::connect(config).await.unwrap_err();
        assert!(matches!(error, RabbitMqError::Connect { .. }), "{error:?}");
    }
    let missing = RabbitMqConfig { ca_file: Some(path("missing.pem")), ..complete };
    let error = RabbitMqPublisher::connect(missing).await.unwrap_err();
    assert!(matches!(error, RabbitMqError::File { .. }), "{error:?}");
}

/// An authority, and certificates of it for the server and for the user `guest`.
fn make_certificates(directory: &Path) -> bool {
    let openssl = |arguments: &str| {
        let mut command = Command::new("openssl");
        command.args(arguments.split(' ')).current_dir(directory);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    let new = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2";
    let names = "subjectAltName=IP:127.0.0.1";
    openssl(&format!("req -x509 {new} -keyout ca.key -out ca.pem -subj /CN=authority"))
        && ["server", "guest"].iter().all(|name| {
            std::fs::write(directory.join("names"), names).is_ok()
                && openssl(&format!(
                    "req {new} -keyout {name}.key -out {name}.csr -subj /CN={name}"
                ))
                && openssl(&format!(
                    "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial \
                     -days 2 -extfile names -out {name}.pem"
                ))
        })
}
