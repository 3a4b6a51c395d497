//! What a fence can't be made of is said, and nothing passes.

use async_nats::jetstream::stream;
use outbox_core::Outcome;
use outbox_nats::{NatsConfig, NatsPublisher};
use outbox_testkit::servers::{nats, nats_newest};

use crate::consumer::Stream;
use crate::publishing::{
    connect, fenced, has_failed, is_fenced, is_fenced_for, is_unavailable, message, publish_as,
};

async fn is_refused(config: NatsConfig, topic: &str, says: &str) {
    let publisher = connect(config).await;
    let outcomes = publish_as(&publisher, 1, &[message(topic)]).await;
    assert!(is_unavailable(&outcomes[0], says), "{outcomes:?}");
}

fn with(stream: &Stream, fence: &str) -> NatsConfig {
    NatsConfig { fence: Some(fence.parse().unwrap()), ..stream.config() }
}

/// Seen to connect when nobody asked for the version. Without that, it would refuse everything: it looks for the last message of
/// the message's own subject, which is never the claim. So an old leader in a cluster, where only
/// the server that is connected to can be asked, lets nothing pass either.
#[tokio::test]
async fn an_old_server_is_refused() {
    let server = nats("").await;
    let stream = Stream::create(&server.url()).await;
    let error = NatsPublisher::connect(fenced(&stream)).await.unwrap_err();
    assert!(error.to_string().contains("needs a NATS server 2.12 or later"), "{error}");
    assert!(!error.is_retryable());
    let claim = format!("{}.fence.3", stream.subject);
    let claim = stream.jetstream.publish(claim, "".into()).await.unwrap().await.unwrap();
    let mut headers = async_nats::HeaderMap::new();
    headers.insert("Nats-Expected-Last-Subject-Sequence", claim.sequence.to_string());
    let subject = stream.subject.clone();
    let sent = stream.jetstream.publish_with_headers(subject, headers, "".into()).await.unwrap();
    assert!(sent.await.is_err());
}

/// Seen to be sent again and again, until the deadline, when nobody counted.
#[tokio::test]
async fn claims_need_the_stream_of_the_message() {
    let server = nats_newest("").await;
    let stream = Stream::create(&server.url()).await;
    let other = Stream::create(&server.url()).await;
    let nowhere = "no stream takes the subject `nowhere.3`";
    is_refused(with(&stream, "nowhere"), &stream.subject, nowhere).await;
    let elsewhere = with(&stream, &format!("{}.fence", other.subject));
    is_refused(elsewhere, &stream.subject, "it must be of the same stream").await;
    assert_eq!(stream.count().await, 0);
}

/// A stream that keeps what consumers are interested in keeps no claims. Seen like the former.
#[tokio::test]
async fn claims_need_a_stream_that_keeps_them() {
    let server = nats_newest("").await;
    let retention = stream::RetentionPolicy::Interest;
    let config = stream::Config { retention, ..<_>::default() };
    let stream = Stream::create_as(&server.url(), config).await;
    is_refused(fenced(&stream), &stream.subject, "and be kept there").await;
}

/// The claim of a successor is a message more of its subject. Seen to count as a failed attempt
/// of each message, though the stream would take them.
#[tokio::test]
async fn claims_need_a_stream_that_takes_another() {
    let server = nats_newest("").await;
    for discard_new_per_subject in [true, false] {
        let (discard, max_messages_per_subject) = (stream::DiscardPolicy::New, 1);
        let config = stream::Config {
            discard,
            max_messages_per_subject,
            discard_new_per_subject,
            ..<_>::default()
        };
        let stream = Stream::create_as(&server.url(), config).await;
        let config = with(&stream, &format!("{}.fence", stream.subject));
        let publisher = connect(config.clone()).await;
        let send = |part: &str| [message(&format!("{}.{part}", stream.subject))];
        assert_eq!(publish_as(&publisher, 1, &send("a")).await, [Outcome::Delivered]);
        let outcomes = publish_as(&connect(config).await, 2, &send("b")).await;
        if discard_new_per_subject {
            let says =
                "the stream refuses the claim on the partition: maximum messages per subject";
            assert!(is_fenced_for(&outcomes[0], says), "{outcomes:?}");
        } else {
            assert_eq!(outcomes, [Outcome::Delivered]);
            assert!(is_fenced(&publish_as(&publisher, 1, &send("c")).await[0], 2));
        }
    }
}

/// FAILURES row 65, found by chaos: as an outage of the broker it lasted for ever, and all keys with a
/// message for such a stream waited behind it.
#[tokio::test]
async fn a_stream_that_takes_no_claims_is_no_outage() {
    let server = nats_newest("").await;
    let small = stream::Config { max_message_size: 1, ..<_>::default() };
    let stream = Stream::create_as(&server.url(), small).await;
    let publisher = connect(with(&stream, &format!("{}.fence", stream.subject))).await;
    let sent = [message(&format!("{}.a", stream.subject))];
    let outcomes = publish_as(&publisher, 1, &sent).await;
    let says = "the stream refuses the claim on the partition: message size exceeds maximum";
    assert!(has_failed(&outcomes[0], says), "{outcomes:?}");
}

/// Seen to be delivered when it counted as a claim of an epoch long ago, and a message to the subject
/// of claims when nobody looked where it goes.
#[tokio::test]
async fn what_is_no_claim_lets_nothing_pass() {
    let server = nats_newest("").await;
    let stream = Stream::create(&server.url()).await;
    let claims = format!("{}.fence.3", stream.subject);
    stream.jetstream.publish(claims.clone(), "".into()).await.unwrap().await.unwrap();
    let says = format!("the last message of the fence's subject `{claims}` is no claim");
    is_refused(fenced(&stream), &stream.subject, &says).await;
    let publisher = connect(with(&stream, &stream.subject)).await;
    let outcomes = publish_as(&publisher, 1, &[message(&format!("{}.4", stream.subject))]).await;
    assert!(matches!(outcomes[..], [Outcome::Rejected(_)]), "{outcomes:?}");
}

/// Each right that a fence needs is missed by its name. Seen to wait for the deadline when nobody
/// listened to what the server says of it.
#[tokio::test]
async fn rights_that_are_missing_are_named() {
    let denied = ["$JS.API.STREAM.NAMES", "$JS.API.STREAM.MSG.GET.>", "*.fence.>"];
    let users = denied.iter().enumerate().map(|(n, denied)| {
        let permissions = format!("permissions {{ publish {{ deny: \"{denied}\" }} }}");
        format!("{{ user: \"{n}\", password: pw, {permissions} }}")
    });
    let users = users.collect::<Vec<_>>().join(",\n");
    let settings = format!(
        "authorization {{ users = [ {{ user: all, password: pw }},\n{users} ] }}\nno_auth_user: all"
    );
    let server = nats_newest(&settings).await;
    let with = |user: &str| server.url().replace("://", &format!("://{user}:pw@"));
    let stream = Stream::create(&server.url()).await;
    for (n, missing) in
        ["$JS.API.STREAM.NAMES", "$JS.API.STREAM.MSG.GET.", &stream.subject].into_iter().enumerate()
    {
        let config: NatsConfig = with(&n.to_string()).parse().unwrap();
        let config =
            NatsConfig { fence: fenced(&stream).fence, connect_timeout_ms: 600_000, ..config };
        let says = format!("the account may not publish to the subject `{missing}");
        is_refused(config, &stream.subject, &says).await;
    }
}
