//! Connections that have died, of which librdkafka learns after a minute only.

use std::time::{Duration, Instant};

use outbox_core::{Message, Outcome, Publisher};

use crate::broker::{PATIENCE, new_topic};
use crate::consumer;
use crate::faults::{deliver, settled};
use crate::publishing::{batch, connect, ids, message, messages, publish, publish_within};
use crate::server::Server;

/// Twenty messages make a request, and fewer wait for company.
const TWENTY: &str = "&linger_ms=30000&batch.num.messages=20";

/// Of one key, and so of one partition.
fn of_one_key(topic: &str, count: usize) -> Vec<Message> {
    (0..count).map(|_| message(topic, "k", 10)).collect()
}

/// FAILURES row 45: what a call has given up may have waited for a dead connection: its producer is
/// thrown away, and so is the client that looks topics up. (Both were kept, and each call failed
/// for a minute.)
#[tokio::test]
async fn a_connection_that_died_costs_one_call() {
    let server = Server::start().await;
    for options in ["", "&transactional_id=dead"] {
        let topic = new_topic(&server.direct(), &[]).await;
        let other = new_topic(&server.direct(), &[]).await;
        let options = format!("?connections=1&connect_timeout_ms=2000{options}");
        let publisher = settled(&server, &options, &topic).await;
        server.front.swallow();
        let outcomes =
            publish_within(&publisher, &messages(&topic, 5), Duration::from_secs(3)).await;
        assert!(!outcomes.contains(&Outcome::Delivered), "{outcomes:?}");
        assert!(publisher.check().await.is_err(), "its connection is dead, too");
        assert_eq!(publish(&publisher, &messages(&topic, 5)).await, vec![Outcome::Delivered; 5]);
        assert_eq!(publish(&publisher, &messages(&other, 5)).await, vec![Outcome::Delivered; 5]);
        assert_eq!(publisher.check().await, Ok(()));
    }
}

/// A transaction that could not even be given up is ended by the next call: it takes the same id.
/// (Another connection went on, and consumers stood still until the transaction timed out.)
#[tokio::test]
async fn a_transaction_left_open_is_in_nobodys_way() {
    let server = Server::start().await;
    let topic = new_topic(&server.direct(), &[]).await;
    let options = format!("?transactional_id=open&connections=2{TWENTY}");
    let publisher = connect(&format!("{}{options}", server.url())).await;
    deliver(&publisher, &of_one_key(&topic, 20)).await;
    let lost = of_one_key(&topic, 21);
    let publish_lost = publish_within(&publisher, &lost, Duration::from_secs(4));
    let die = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        server.front.swallow();
    };
    let (outcomes, ()) = tokio::join!(publish_lost, die);
    assert!(!outcomes.contains(&Outcome::Delivered), "{outcomes:?}");
    let sent = of_one_key(&topic, 20);
    deliver(&publisher, &sent).await;
    let arrived = ids(&consumer::read(&server.direct(), &topic).await);
    assert!(sent.iter().all(|message| arrived.contains(&message.id())), "they can be read");
    assert!(lost.iter().all(|message| !arrived.contains(&message.id())));
}

/// FAILURES row 48: else the process would end before, and consumers stand still. Seen to return at
/// once.
#[tokio::test]
async fn closing_waits_until_an_abandoned_transaction_is_aborted() {
    let server = Server::start().await;
    let topic = new_topic(&server.direct(), &[]).await;
    let options = format!("?transactional_id=abandoned{TWENTY}");
    let publisher = connect(&format!("{}{options}", server.url())).await;
    deliver(&publisher, &of_one_key(&topic, 20)).await;
    let lost = batch(&of_one_key(&topic, 21));
    let mut outcomes = vec![Outcome::Unknown; lost.len()];
    let call = publisher.publish(&lost, Instant::now() + Duration::from_mins(1), &mut outcomes);
    tokio::time::timeout(Duration::from_secs(2), call).await.expect_err("one waits for company");
    let held = server.proxy.hold();
    let mut close = std::pin::pin!(publisher.close());
    let early = tokio::time::timeout(Duration::from_secs(1), close.as_mut()).await;
    early.expect_err("the abort isn't answered yet");
    drop(held);
    assert_eq!(close.await, Ok(()));
    let other = connect(&server.url()).await;
    let sent = [message(&topic, "k", 1)];
    assert_eq!(publish(&other, &sent).await, [Outcome::Delivered]);
    let arrived = ids(&consumer::read(&server.direct(), &topic).await);
    assert!(arrived.contains(&sent[0].id()));
}

/// What nobody is left to end, the broker ends. Seen to stand open for half a minute, and be waited
/// for no longer, with the time-out that it has by default.
#[tokio::test]
async fn the_transaction_of_a_killed_relay_is_in_the_way_until_its_time_is_up() {
    let server = Server::start().await;
    let topic = new_topic(&server.direct(), &[]).await;
    let company = TWENTY.replace("30000", "3000");
    let options = format!("?transactional_id=killed&transaction_timeout_ms=5000{company}");
    let publisher = connect(&format!("{}{options}", server.url())).await;
    deliver(&publisher, &of_one_key(&topic, 20)).await;
    let lost = of_one_key(&topic, 21);
    let (sent, mut outcomes) = (batch(&lost), vec![Outcome::Unknown; lost.len()]);
    let mut call = publisher.publish(&sent, Instant::now() + PATIENCE, &mut outcomes);
    tokio::time::timeout(Duration::from_secs(2), &mut call).await.expect_err("one waits");
    // Nothing of what it does to clean up gets through.
    let held = server.proxy.hold_all();
    drop(call);
    let arrived = ids(&consumer::read(&server.direct(), &topic).await);
    assert_eq!(arrived.len(), 20);
    assert!(lost.iter().all(|message| !arrived.contains(&message.id())));
    drop(held);
}
