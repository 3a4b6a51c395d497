//! Users and certificates, on a broker of the test's own.

use outbox_core::{Outcome, Publisher};
use outbox_kafka::{KafkaError, KafkaPublisher, KafkaTail};
use outbox_testkit::servers::Certificates;

use crate::broker::new_topic;
use crate::publishing::{connect, messages, publish};
use crate::server::Server;

/// The proxied listener asks for a certificate and a password.
fn settings(made: &Certificates) -> String {
    let (both, ca) = (made.path("server.both.pem"), made.path("ca.pem"));
    let (both, ca) = (both.display(), ca.display());
    format!(
        "\
listener.security.protocol.map=PROXIED:SASL_SSL,DIRECT:PLAINTEXT,CONTROLLER:PLAINTEXT
listener.name.proxied.ssl.keystore.type=PEM
listener.name.proxied.ssl.keystore.location={both}
listener.name.proxied.ssl.truststore.type=PEM
listener.name.proxied.ssl.truststore.location={ca}
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
    let made = Certificates::new();
    let file = |name: &str| made.path(name).display().to_string();
    let certificates = format!(
        "ca={}&certificate={}&certificate_key={}",
        file("ca.pem"),
        file("client.pem"),
        file("client.key")
    );
    let user = |hash: &str| format!("{hash}=[name=alice,password=s3cret/]");
    let users = ["--add-scram", &user("SCRAM-SHA-256"), "--add-scram", &user("SCRAM-SHA-512")];
    let server = Server::start_with(&settings(&made), &users).await;
    let topic = new_topic(&server.direct(), &[]).await;
    let address = server.front.address();
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
    // A broker that isn't signed by an authority of ours, a client without a certificate, and one
    // with a wrong password. The second was seen to be unreachable, and whoever reads to hear of no
    // more than a transport failure, each time.
    let ca = &certificates[..certificates.find('&').unwrap()];
    for (password, options) in [("s3cret%2F", ""), ("s3cret%2F", ca), ("canary", &certificates)] {
        let url = format!("kafkas://alice:{password}@{address}?{options}");
        let error = KafkaPublisher::connect(url.parse().unwrap()).await.unwrap_err();
        assert!(matches!(error, KafkaError::Refused(_)), "{options}: {error:?}");
        let error = KafkaTail::connect(url.parse().unwrap(), &topic).await.unwrap_err();
        assert!(matches!(error, KafkaError::Refused(_)), "{options}: {error:?}");
        assert!(!format!("{error:?}").contains("canary"), "{error:?}");
    }
}
