//! TLS and accounts.

use std::path::{Path, PathBuf};
use std::process::Command;

use outbox_core::{Outcome, Publisher};
use outbox_redis::{RedisConfig, RedisError, RedisPublisher};
use tempfile::TempDir;

use crate::server::Server;
use crate::streams::{connect, message, publish};

/// An authority, and certificates of it for `server` and `client`, made by `openssl`.
struct Certificates(TempDir);

impl Certificates {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let script = "
            set -e
            key() { openssl ecparam -name prime256v1 -genkey -noout | openssl pkcs8 -topk8 -nocrypt -out $1.key; }
            key ca
            openssl req -x509 -new -key ca.key -subj /CN=ca -days 2 -out ca.pem
            for name in server client; do
                key $name
                openssl req -new -key $name.key -subj /CN=$name -out $name.csr
                echo 'subjectAltName=IP:127.0.0.1' > ext
                openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                    -extfile ext -out $name.pem
            done";
        let made = Command::new("bash").args(["-c", script]).current_dir(&directory).output();
        let made = made.unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        Self(directory)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

#[tokio::test]
async fn certificates_let_in() {
    let made = Certificates::new();
    let file = |name: &str| made.path(name).to_str().unwrap().to_owned();
    let port = crate::server::free_port().to_string();
    let settings = [
        ["--tls-port", &port],
        ["--tls-cert-file", &file("server.pem")],
        ["--tls-key-file", &file("server.key")],
        ["--tls-ca-cert-file", &file("ca.pem")],
    ];
    let Some(_server) = Server::start_with(settings.as_flattened()).await else { return };
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
        assert!(matches!(error, RedisError::Connect(_)), "{error:?}");
    }
    let error = RedisPublisher::connect(with(&[("ca", Path::new("/none"))])).await.unwrap_err();
    assert_eq!(error.to_string(), "/none can't be read");
}

#[tokio::test]
async fn users_may_what_they_may() {
    let user = ["--user", "some", "on", ">pw", "~open", "+xadd"];
    let settings = ["--requirepass", "s3cret"];
    let all = [&user[..], &settings[..]].concat();
    let Some(server) = Server::start_with(&all).await else { return };
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
