//! Users and certificates, on a broker of the test's own.

use std::path::Path;
use std::process::Command;

use outbox_core::{Outcome, Publisher};
use outbox_kafka::{KafkaError, KafkaPublisher};

use crate::broker::new_topic;
use crate::publishing::{connect, messages, publish};
use crate::server::Server;

/// A certificate authority, and a broker's and a client's certificate signed by it.
fn make_certificates(directory: &Path) {
    let script = "
        openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority \
            -keyout ca.key -out ca.pem
        for name in broker client; do
            openssl req -newkey rsa:2048 -nodes -subj /CN=$name -keyout $name.key -out $name.csr
            printf 'subjectAltName=IP:127.0.0.1' > extensions
            openssl x509 -req -in $name.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 \
                -extfile extensions -out $name.pem
            cat $name.key $name.pem > $name.both.pem
        done";
    let made = Command::new("sh").args(["-ec", script]).current_dir(directory).output().unwrap();
    assert!(made.status.success(), "{made:?}");
}

/// The proxied listener asks for a certificate, a password, or both.
fn settings(directory: &Path, protocol: &str, direct: &str) -> String {
    make_certificates(directory);
    let at = directory.display();
    format!(
        "\
listener.security.protocol.map=PROXIED:{protocol},DIRECT:{direct},CONTROLLER:PLAINTEXT
listener.name.proxied.ssl.keystore.type=PEM
listener.name.proxied.ssl.keystore.location={at}/broker.both.pem
listener.name.proxied.ssl.truststore.type=PEM
listener.name.proxied.ssl.truststore.location={at}/ca.pem
listener.name.proxied.ssl.client.auth=required
listener.name.proxied.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512
listener.name.proxied.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule \
required user_alice=\"s3cret/\";
listener.name.proxied.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.proxied.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
"
    )
}

#[tokio::test]
async fn certificates_and_users_are_shown_to_the_broker() {
    let mut certificates = String::new();
    let start = Server::start_with(
        |directory| {
            let at = directory.display();
            certificates = format!(
                "ca={at}/ca.pem&certificate={at}/client.pem&certificate_key={at}/client.key"
            );
            settings(directory, "SASL_SSL", "PLAINTEXT")
        },
        &[
            "--add-scram",
            "SCRAM-SHA-256=[name=alice,password=s3cret/]",
            "--add-scram",
            "SCRAM-SHA-512=[name=alice,password=s3cret/]",
        ],
    );
    let Some(server) = start.await else { return };
    let topic = new_topic(&server.direct(), &[]).await;
    let address = server.proxy.address();
    for mechanism in ["plain", "scram-sha-256", "scram-sha-512"] {
        let options = format!("sasl_mechanism={mechanism}&{certificates}");
        let url = format!("kafkas://alice:s3cret%2F@{address}?{options}");
        let publisher = connect(&url).await;
        assert_eq!(publish(&publisher, &messages(&topic, 3)).await, vec![Outcome::Delivered; 3]);
        assert_eq!(publisher.check().await, Ok(()));

        let url = format!("kafkas://alice:canary@{address}?{options}");
        let error = KafkaPublisher::connect(url.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, KafkaError::Refused(_)), "{mechanism}: {error}");
        assert!(!error.is_retryable() && !format!("{error:?}").contains("canary"), "{error:?}");
    }
    // A broker that isn't signed by an authority of ours, and a client without a certificate.
    for options in ["", &certificates[..certificates.find('&').unwrap()]] {
        let url = format!("kafkas://alice:s3cret%2F@{address}?connect_timeout_ms=2000&{options}");
        let error = KafkaPublisher::connect(url.parse().unwrap()).await.unwrap_err();
        assert!(
            matches!(error, KafkaError::Refused(_) | KafkaError::Unreachable(_)),
            "{options}: {error}"
        );
    }
}
