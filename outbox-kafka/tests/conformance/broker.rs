//! The shared broker, and topics on any.

use outbox_testkit::servers;
use rdkafka::admin::{
    AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use std::time::Duration;
use uuid::Uuid;

/// Enough for any broker to answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The URL of the shared broker.
pub(crate) fn shared() -> String {
    servers::shared("OUTBOX_TEST_KAFKA")
}

pub(crate) fn servers(url: &str) -> String {
    url.strip_prefix("kafka://").unwrap().to_owned()
}

pub(crate) fn new_name() -> String {
    format!("test-{}", Uuid::new_v4().simple())
}

/// A new topic of three partitions.
pub(crate) async fn new_topic(servers: &str, settings: &[(&str, &str)]) -> String {
    let name = new_name();
    create_topic(servers, &name, settings).await;
    name
}

pub(crate) async fn create_topic(servers: &str, name: &str, settings: &[(&str, &str)]) {
    let mut topic = NewTopic::new(name, 3, TopicReplication::Fixed(1));
    for (name, value) in settings {
        topic = topic.set(name, value);
    }
    let created = admin(servers).create_topics([&topic], &options()).await.unwrap();
    assert!(created[0].is_ok(), "{created:?}");
}

/// Gives one of its options another value, and the others those that they have by default.
pub(crate) async fn alter_topic(servers: &str, name: &str, option: &str, value: &str) {
    let change = AlterConfig::new(ResourceSpecifier::Topic(name)).set(option, value);
    let altered = admin(servers).alter_configs([&change], &options()).await.unwrap();
    assert!(altered[0].is_ok(), "{altered:?}");
}

/// Returns when the broker knows of it: the controller answers before.
pub(crate) async fn delete_topic(servers: &str, name: &str) {
    let admin = admin(servers);
    let deleted = admin.delete_topics(&[name], &options()).await.unwrap();
    assert!(deleted[0].is_ok(), "{deleted:?}");
    while admin.inner().fetch_metadata(Some(name), PATIENCE).unwrap().topics()[0].error().is_none()
    {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn admin(servers: &str) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", servers).create().unwrap()
}

fn options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE))
}
