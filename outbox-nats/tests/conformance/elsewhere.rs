//! Streams that the relay's own JetStream doesn't know.

use std::time::Duration;

use async_nats::jetstream::{self, Context, stream};
use outbox_core::{Outcome, Publisher};
use outbox_nats::{NatsConfig, NatsPublisher};
use outbox_testkit::servers::{Server, free_ports};

use super::nats;
use crate::publishing::{connect, is_unavailable, message, publish, publish_within};

async fn create(context: &Context, name: &str) {
    let subjects = vec![name.to_lowercase()];
    let config = stream::Config { name: name.to_owned(), subjects, ..<_>::default() };
    context.create_stream(config).await.unwrap();
}

/// Publishes until it is delivered: until then servers find each other.
async fn deliver(publisher: &NatsPublisher, topic: &str) {
    for _ in 0..200 {
        if publish(publisher, &[message(topic)]).await == [Outcome::Delivered] {
            return;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("it is not delivered");
}

/// A hub, and a leaf node, each with a JetStream domain of its own.
struct Nodes {
    hub: Server,
    leaf: Server,
    _stores: [tempfile::TempDir; 2],
}

impl Nodes {
    async fn start() -> Self {
        let stores = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let [port] = free_ports();
        let domain = |name: usize| {
            let store = stores[name].path().display();
            let name = ["hub", "leaf"][name];
            format!("server_name: {name}\njetstream {{ domain: {name}, store_dir: \"{store}\" }}\n")
        };
        let listen = format!("leafnodes {{ listen: \"127.0.0.1:{port}\" }}");
        let hub = nats(&format!("{}{listen}", domain(0))).await;
        let remote =
            format!("leafnodes {{ remotes [ {{ url: \"nats-leaf://127.0.0.1:{port}\" }} ] }}");
        let leaf = nats(&format!("{}{remote}", domain(1))).await;
        let context = jetstream::new(async_nats::connect(hub.url()).await.unwrap());
        create(&context, "ORDERS").await;
        Self { hub, leaf, _stores: stores }
    }

    fn config(&self) -> NatsConfig {
        self.leaf.url().parse().unwrap()
    }
}

/// FAILURES row 50. Seen to be rejected when that the leaf's JetStream has no such stream counted
/// for something.
#[tokio::test]
async fn a_hub_that_is_down_costs_no_message_of_a_leaf() {
    let mut nodes = Nodes::start().await;
    let publishers = [
        connect(nodes.config()).await,
        connect(NatsConfig { domain: Some("hub".to_owned()), ..nodes.config() }).await,
    ];
    for publisher in &publishers {
        deliver(publisher, "orders").await;
    }
    nodes.hub.kill();
    let after = connect(nodes.config()).await;
    for publisher in publishers.iter().chain([&after]) {
        let outcomes = publish(publisher, &[message("orders"), message("orders")]).await;
        assert!(outcomes.iter().all(|outcome| is_unavailable(outcome, "")), "{outcomes:?}");
    }
}

/// The domain is asked for its streams, creates one, and answers to `check`.
#[tokio::test]
async fn a_domain_knows_its_streams() {
    let mut nodes = Nodes::start().await;
    let config = NatsConfig {
        domain: Some("hub".to_owned()),
        reject_without_stream: true,
        create_stream: Some("CREATED".to_owned()),
        subjects: vec!["created".to_owned()],
        ..nodes.config()
    };
    let mut publisher = NatsPublisher::connect(config.clone()).await;
    for _ in 0..200 {
        if publisher.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        publisher = NatsPublisher::connect(config.clone()).await;
    }
    let publisher = publisher.unwrap();
    deliver(&publisher, "created").await;
    let context = jetstream::new(async_nats::connect(nodes.hub.url()).await.unwrap());
    assert_eq!(context.stream_by_subject("created").await.unwrap(), "CREATED");
    let outcomes = publish(&publisher, &[message("nowhere"), message("orders")]).await;
    let says = "no stream takes the subject `nowhere`: create one";
    assert_eq!(outcomes, [Outcome::Rejected(says.into()), Outcome::Delivered]);
    assert_eq!(publisher.check().await, Ok(()));
    nodes.hub.kill();
    assert!(publisher.check().await.is_err());
    let outcomes = publish(&publisher, &[message("orders")]).await;
    assert!(is_unavailable(&outcomes[0], ""), "{outcomes:?}");
}

/// FAILURES row 50. Seen to be rejected, like those of a leaf.
#[tokio::test]
async fn a_subject_of_another_account_is_not_missed_here() {
    let settings = "accounts {\n\
        B { jetstream: enabled, users [ { user: all, password: pw } ],\n\
            exports [ { service: orders, response_type: stream } ] }\n\
        A { jetstream: enabled, users [ { user: relay, password: pw } ],\n\
            imports [ { service: { account: B, subject: orders } } ] } }";
    let server = nats(settings).await;
    let client = async_nats::ConnectOptions::with_user_and_password("all".into(), "pw".into());
    let context = jetstream::new(client.connect(server.url()).await.unwrap());
    create(&context, "ORDERS").await;
    let url = server.url().replace("://", "://relay:pw@");
    let publisher = connect(url.parse().unwrap()).await;
    deliver(&publisher, "orders").await;
    context.delete_stream("ORDERS").await.unwrap();
    // That nobody answers some servers don't say across accounts.
    let soon = Duration::from_secs(4);
    let outcomes = publish_within(&publisher, &[message("orders")], soon).await;
    assert!(is_unavailable(&outcomes[0], "no stream takes the subject"), "{outcomes:?}");
    create(&context, "ORDERS").await;
    deliver(&publisher, "orders").await;
}
