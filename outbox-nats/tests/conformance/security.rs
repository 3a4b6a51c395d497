//! TLS and accounts.

use std::path::{Path, PathBuf};
use std::process::Command;

use outbox_core::{Outcome, Publisher};
use outbox_nats::{NatsConfig, NatsError, NatsPublisher};
use tempfile::TempDir;

use crate::nats::{connect, message, publish};
use crate::server::Server;

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

fn url(server: &Server, scheme: &str, options: &[(&str, &Path)]) -> String {
    let options = options.iter().map(|(name, path)| format!("{name}={}", path.display()));
    let options: Vec<_> = options.collect();
    format!("{scheme}://{}?{}", server.address(), options.join("&"))
}

#[tokio::test]
async fn certificates_let_in() {
    let made = Certificates::new();
    let settings = format!(
        "tls {{ cert_file: {:?}, key_file: {:?}, ca_file: {:?}, verify: true }}",
        made.path("server.pem"),
        made.path("server.key"),
        made.path("ca.pem"),
    );
    let Some(server) = Server::start_with(&settings).await else { return };
    let ca = made.path("ca.pem");
    let (certificate, key) = (made.path("client.pem"), made.path("client.key"));
    let account = [("certificate", &*certificate), ("certificate_key", &*key)];
    let all = [&[("ca", &*ca)], &account[..]].concat();
    let config: NatsConfig = url(&server, "tls", &all).parse().unwrap();
    let config = NatsConfig {
        create_stream: Some("S".to_owned()),
        subjects: vec!["orders".to_owned()],
        ..config
    };
    let publisher = connect(config).await;
    assert_eq!(publish(&publisher, &[message("orders")]).await, [Outcome::Delivered]);
    assert_eq!(publisher.check().await, Ok(()));
    for missing in [&all[..1], &all[1..]] {
        let config: NatsConfig = url(&server, "tls", missing).parse().unwrap();
        let error = NatsPublisher::connect(config).await.unwrap_err();
        assert!(matches!(error, NatsError::Connect(_)), "{error:?}");
    }
}

/// A pair that everybody knows, from the documentation of NATS.
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

#[tokio::test]
async fn nkeys_let_in() {
    let settings = format!("authorization {{ users = [ {{ nkey: {PUBLIC} }} ] }}");
    let Some(server) = Server::start_with(&settings).await else { return };
    let publisher = connect(format!("{}?nkey={SEED}", server.url()).parse().unwrap()).await;
    assert_eq!(publisher.check().await, Ok(()));
    let config: NatsConfig = server.url().parse().unwrap();
    assert!(NatsPublisher::connect(config).await.is_err());
}

#[tokio::test]
async fn a_missing_credentials_file_is_named() {
    let config: NatsConfig = "nats://127.0.0.1:1?credentials=/none.creds".parse().unwrap();
    let error = NatsPublisher::connect(config).await.unwrap_err();
    assert_eq!(error.to_string(), "/none.creds can't be read as NATS credentials");
}
