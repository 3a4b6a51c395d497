//! TLS and accounts.

use std::path::Path;

use outbox_core::{Outcome, Publisher};
use outbox_redis::{RedisConfig, RedisError, RedisPublisher};
use outbox_testkit::servers::{Certificates, free_ports, redis};

use crate::streams::{connect, message, publish};

#[tokio::test]
async fn certificates_let_in() {
    let made = Certificates::new();
    let file = |name: &str| made.path(name).to_str().unwrap().to_owned();
    let port = free_ports::<1>()[0].to_string();
    let settings = [
        ["--tls-port", &port],
        ["--tls-cert-file", &file("server.pem")],
        ["--tls-key-file", &file("server.key")],
        ["--tls-ca-cert-file", &file("ca.pem")],
    ];
    let _server = redis(settings.as_flattened()).await;
    let with = |options: &[(&str, &Path)]| {
        let options = options.iter().map(|(name, path)| format!("{name}={}", path.display()));
        let options: Vec<_> = options.collect();
        format!("rediss://127.0.0.1:{port}?{}", options.join("&")).parse::<RedisConfig>().unwrap()
    };
    let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let all = [
        ("ca", Path::new(&ca)),
        ("certificate", Path::new(&certificate)),
        ("certificate_key", Path::new(&key)),
    ];
    let publisher = connect(with(&all)).await;
    assert_eq!(publish(&publisher, &[message("orders")]).await, [Outcome::Delivered]);
    assert_eq!(publisher.check().await, Ok(()));
    for missing in [&all[..1], &all[1..]] {
        let error = RedisPublisher::connect(with(missing)).await.unwrap_err();
        assert!(matches!(error, RedisError::Connect(_)) && !error.is_retryable(), "{error:?}");
    }
    // Another authority's server, and one of another name: the certificate is for 127.0.0.1.
    let other = Certificates::new();
    let distrusting = with(&[("ca", &*other.path("ca.pem")), all[1], all[2]]);
    let mut renamed = with(&all);
    renamed.servers = vec![format!("localhost:{port}")];
    for refused in [distrusting, renamed] {
        assert!(RedisPublisher::connect(refused).await.is_err());
    }
    let error = RedisPublisher::connect(with(&[("ca", Path::new("/none"))])).await.unwrap_err();
    assert_eq!(error.to_string(), "/none can't be read");
}

#[tokio::test]
async fn users_may_what_they_may() {
    let user = ["--user", "some", "on", ">pw", "~open", "+xadd"];
    let settings = ["--requirepass", "s3cret"];
    let all = [&user[..], &settings[..]].concat();
    let server = redis(&all).await;
    let with = |account: &str| server.url().replace("://", &format!("://{account}@"));
    let publisher = connect(with("some:pw").parse().unwrap()).await;
    let outcomes = publish(&publisher, &[message("open"), message("closed")]).await;
    assert_eq!(outcomes[0], Outcome::Delivered);
    let Outcome::Unavailable(reason) = &outcomes[1] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().contains("NOPERM"), "{reason}");
    connect(with(":s3cret").parse().unwrap()).await;
    let error = RedisPublisher::connect(with("some:canary").parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, RedisError::Connect(_)) && !error.is_retryable(), "{error:?}");
    assert!(!format!("{error:?}").contains("canary"));
    let error = RedisPublisher::connect(server.url().parse().unwrap()).await.unwrap_err();
    assert!(matches!(error, RedisError::Connect(_)) && !error.is_retryable(), "{error:?}");
}

/// Seen to connect as the default user.
#[tokio::test]
async fn a_user_without_a_password_is_still_that_user() {
    let user = ["--user", "some", "on", "nopass", "~open", "+xadd"];
    let server = redis(&user).await;
    let with = |account: &str| server.url().replace("://", &format!("://{account}@"));
    with("some").parse::<RedisConfig>().unwrap_err();
    let publisher = connect(with("some:").parse().unwrap()).await;
    let outcomes = publish(&publisher, &[message("open"), message("closed")]).await;
    assert_eq!(outcomes[0], Outcome::Delivered);
    assert!(matches!(outcomes[1], Outcome::Unavailable(_)), "{outcomes:?}");
}
