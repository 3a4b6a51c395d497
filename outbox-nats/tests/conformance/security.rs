//! TLS and accounts.

use std::path::Path;
use std::time::Duration;

use async_nats::jetstream::{self, stream};
use outbox_core::{Outcome, Publisher};
use outbox_nats::{NatsConfig, NatsError, NatsPublisher};
use outbox_testkit::servers::{Certificates, Server};

use super::nats;
use super::reloadable::Reloadable;
use crate::publishing::{connect, is_unavailable, message, publish, publish_within};

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
    let server = nats(&settings).await;
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
        assert!(matches!(error, NatsError::Connect(_)) && !error.is_retryable(), "{error:?}");
    }
    // Another authority's server, and one of another name: the certificate is for 127.0.0.1.
    let others = Certificates::new();
    let other = others.path("ca.pem");
    let distrusting = url(&server, "tls", &[&[("ca", &*other)], &account[..]].concat());
    let renamed = url(&server, "tls", &all).replace("127.0.0.1", "localhost");
    for refused in [distrusting, renamed] {
        assert!(NatsPublisher::connect(refused.parse().unwrap()).await.is_err(), "{refused}");
    }
    // The server wants TLS whether we ask for it or not.
    let plain: NatsConfig = format!("nats://{}", server.address()).parse().unwrap();
    assert!(NatsPublisher::connect(plain).await.is_err());
}

/// A pair that everybody knows, from the documentation of NATS.
const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY";
const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";

#[tokio::test]
async fn nkeys_let_in() {
    let settings = format!("authorization {{ users = [ {{ nkey: {PUBLIC} }} ] }}");
    let server = nats(&settings).await;
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

#[tokio::test]
async fn a_credentials_file_lets_in() {
    let server = nats(include_str!("credentials/operator.conf")).await;
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/credentials/relay.creds");
    let url = format!("{}?credentials={file}&create_stream=S&subjects=orders", server.url());
    let publisher = connect(url.parse().unwrap()).await;
    assert_eq!(publish(&publisher, &[message("orders")]).await, [Outcome::Delivered]);
    let config: NatsConfig = server.url().parse().unwrap();
    assert!(NatsPublisher::connect(config).await.is_err());
}

/// FAILURES row 50. Seen to be stored with each attempt, and unknown each time.
#[tokio::test]
async fn who_may_not_hear_of_it_sends_nothing() {
    let settings = "authorization { users = [\n\
        { user: all, password: pw }\n\
        { user: relay, password: pw, permissions { subscribe: \"_in.relay.>\" } } ] }";
    let server = nats(settings).await;
    let client = async_nats::ConnectOptions::with_user_and_password("all".into(), "pw".into());
    let context = jetstream::new(client.connect(server.url()).await.unwrap());
    let subjects = vec!["orders".to_owned()];
    let config = stream::Config { name: "S".to_owned(), subjects, ..<_>::default() };
    let mut stored = context.create_stream(config).await.unwrap();
    let url = server.url().replace("://", "://relay:pw@");
    let error = NatsPublisher::connect(url.parse().unwrap()).await.unwrap_err();
    let NatsError::Inbox(inbox) = &error else { panic!("{error:?}") };
    assert!(inbox.starts_with("_INBOX.") && !error.is_retryable(), "{error}");
    let publisher = connect(format!("{url}?inbox_prefix=_in.relay").parse().unwrap()).await;
    assert_eq!(publish(&publisher, &[message("orders")]).await, [Outcome::Delivered]);
    assert_eq!(publisher.check().await, Ok(()));
    assert_eq!(stored.info().await.unwrap().state.messages, 1);
}

/// The server ends the connections of a user that it changes, and the next one finds out.
#[tokio::test]
async fn who_may_no_longer_hear_of_it_is_told_so() {
    let settings = "authorization { users = [\n\
        { user: relay, password: pw, permissions { publish: \">\", subscribe: \"_INBOX.>\" } } ] }";
    let server = Reloadable::start(settings).await;
    let url = server.url().replace("://", "://relay:pw@");
    let url = format!("{url}?create_stream=S&subjects=orders");
    let publisher = connect(url.parse().unwrap()).await;
    assert_eq!(publish(&publisher, &[message("orders")]).await, [Outcome::Delivered]);
    server.reload("_INBOX.>", "elsewhere.>");
    for _ in 0..60 {
        let outcomes =
            publish_within(&publisher, &[message("orders")], Duration::from_secs(1)).await;
        if is_unavailable(&outcomes[0], "the account may not subscribe to `_INBOX.") {
            return;
        }
    }
    panic!("it is never said");
}

/// Whoever may publish nothing but its messages needn't be allowed more.
#[tokio::test]
async fn a_relay_needs_no_more_than_its_subjects() {
    let settings = "authorization { users = [\n\
        { user: all, password: pw }\n\
        { user: relay, password: pw,\n\
          permissions { publish: \"orders\", subscribe: \"_INBOX.>\" } } ] }";
    let server = nats(settings).await;
    let with = |user: &str| server.url().replace("://", &format!("://{user}:pw@"));
    connect(format!("{}?create_stream=S&subjects=orders", with("all")).parse().unwrap()).await;
    let publisher = connect(with("relay").parse().unwrap()).await;
    assert_eq!(publish(&publisher, &[message("orders")]).await, [Outcome::Delivered]);
    assert_eq!(publisher.check().await, Ok(()));
}
