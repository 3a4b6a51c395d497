//! TLS, with certificates that `openssl` makes.

use std::time::Duration;

use outbox_core::Outcome;
use outbox_rabbitmq::{RabbitMqConfig, RabbitMqError, RabbitMqPublisher};
use outbox_testkit::faults::Proxy;
use outbox_testkit::servers::{Certificates, free_ports, rabbitmq, rabbitmqctl};
use outbox_testkit::suite::publisher::PublisherHarness as _;

use crate::rabbit::{Rabbit, deliver_at_last, publish, publish_within};

/// A broker that isn't trusted was seen to be worth another try.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn certificates_are_checked_and_can_be_the_login() {
    let made = Certificates::new();
    let path = |name: &str| made.path(name);
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
    let server = rabbitmq(&settings, plugin).await;
    for arguments in
        [&["add_user", "client", "guest"], &["set_permissions", "client", ".*", ".*", ".*"][..]]
    {
        rabbitmqctl(&server, arguments).await;
    }
    let rabbit = Rabbit::at(server.url(), &[]).await;
    let complete = RabbitMqConfig {
        tls: true,
        ca: Some(path("ca.pem")),
        certificate: Some(path("client.pem")),
        certificate_key: Some(path("client.key")),
        ..RabbitMqConfig::new(format!("127.0.0.1:{port}"))
    };
    // With the password, and with the name in the certificate.
    for external in [false, true] {
        let user = external.then(|| "guest".to_owned());
        let password = external.then(|| "wrong".into());
        let config = RabbitMqConfig { external, user, password, ..complete.clone() };
        let publisher = RabbitMqPublisher::connect(config).await.unwrap();
        let sent = [rabbit.message(), rabbit.bytes(1_000_000)];
        assert_eq!(publish(&publisher, &sent).await, vec![Outcome::Delivered; 2]);
    }
    assert_eq!(rabbit.arrived().await.len(), 4);
    assert_nothing_comes_late(&rabbit, complete.clone()).await;
    let distrusting = RabbitMqConfig { ca: None, ..complete.clone() };
    let anonymous = RabbitMqConfig { certificate: None, certificate_key: None, ..complete.clone() };
    let error = RabbitMqPublisher::connect(distrusting).await.unwrap_err();
    assert!(matches!(error, RabbitMqError::Connect { .. }), "{error:?}");
    assert!(!error.is_retryable(), "{error:?}");
    // Another authority's broker, and one of another name: the certificate is for 127.0.0.1.
    let other = Certificates::new();
    let deceived = RabbitMqConfig { ca: Some(other.path("ca.pem")), ..complete.clone() };
    let servers = vec![format!("localhost:{port}")];
    let renamed = RabbitMqConfig { servers, ..complete.clone() };
    for refused in [deceived, renamed] {
        assert!(RabbitMqPublisher::connect(refused).await.is_err());
    }
    // The broker says why, but may have hung up before that is heard.
    let error = RabbitMqPublisher::connect(anonymous).await.unwrap_err();
    assert!(matches!(error, RabbitMqError::Connect { .. }), "{error:?}");
    let missing = RabbitMqConfig { ca: Some(path("missing.pem")), ..complete };
    let error = RabbitMqPublisher::connect(missing).await.unwrap_err();
    assert!(matches!(error, RabbitMqError::File { .. }), "{error:?}");
}

/// What was handed to TLS is taken back, too.
async fn assert_nothing_comes_late(rabbit: &Rabbit, mut config: RabbitMqConfig) {
    let proxy = Proxy::start(config.servers.remove(0).parse().unwrap()).unwrap();
    config.servers = vec![proxy.address().to_string()];
    let publisher = RabbitMqPublisher::connect(config).await.unwrap();
    assert_eq!(publish(&publisher, &[rabbit.message()]).await, [Outcome::Delivered]);
    let held = proxy.hold_all();
    let (large, soon) = (rabbit.bytes(1024 * 1024), Duration::from_secs(1));
    let outcomes = publish_within(&publisher, std::slice::from_ref(&large), soon).await;
    assert_eq!(outcomes, [Outcome::Unknown]);
    drop(held);
    tokio::time::sleep(Duration::from_secs(3)).await;
    deliver_at_last(&publisher, &rabbit.message()).await;
    let arrived = rabbit.arrived_ids().await;
    assert!(!arrived.contains(&large.id()), "it was sent after its publish had ended");
}
