//! Who has lost a partition is refused by the stream.

use std::time::{Duration, Instant};

use async_nats::jetstream::stream;
use outbox_core::broker::Tail;
use outbox_core::{Outcome, Publisher};
use outbox_nats::{NatsConfig, NatsPublisher, NatsTail};
use outbox_testkit::faults::Proxy;
use outbox_testkit::servers::{Server, nats_newest};

use crate::consumer::Stream;
use crate::publishing::{
    connect, fenced, ids, is_fenced, is_unavailable, keyed, message, publish, publish_as, tokens,
};

/// FAILURES row 63. Without the fence the third message is stored, too, after its successor's. Seen
/// to be stored with it when messages bore no expected sequence, and when a claim didn't look at
/// the epoch of the one before.
#[tokio::test]
async fn a_former_owner_is_refused_after_its_successor() {
    let server = nats_newest("").await;
    for has_fence in [true, false] {
        let stream = Stream::create(&server.url()).await;
        let config = if has_fence { fenced(&stream) } else { stream.config() };
        let (former, successor) = (connect(config.clone()).await, connect(config.clone()).await);
        let sent: Vec<_> = (0..4).map(|_| message(&stream.subject)).collect();
        assert_eq!(publish_as(&former, 1, &sent[..1]).await, [Outcome::Delivered]);
        // It doesn't wait for anything of the former's.
        assert_eq!(publish_as(&successor, 2, &sent[1..2]).await, [Outcome::Delivered]);
        let mut late = publish_as(&former, 1, &sent[2..3]).await;
        // So it remains after it has reconnected.
        let again = connect(config).await;
        late.extend(publish_as(&again, 1, &sent[3..]).await);
        let arrived = ids(&stream.arrived().await);
        if has_fence {
            assert!(late.iter().all(|outcome| is_fenced(outcome, 2)), "{late:?}");
            assert!(arrived == ids(&sent[..2]), "nothing of it is there");
        } else {
            assert_eq!(late, [Outcome::Delivered, Outcome::Delivered]);
            assert!(arrived == ids(&sent));
        }
        assert_eq!(
            publish_as(&successor, 2, &[message(&stream.subject)]).await,
            [Outcome::Delivered]
        );
    }
}

/// The stream must not take its id for one that it has.
#[tokio::test]
async fn what_was_refused_can_be_sent_by_the_successor() {
    let server = nats_newest("").await;
    let stream = Stream::create(&server.url()).await;
    let (former, successor) = (connect(fenced(&stream)).await, connect(fenced(&stream)).await);
    let batch = [message(&stream.subject)];
    publish_as(&former, 1, &[message(&stream.subject)]).await;
    publish_as(&successor, 2, &[message(&stream.subject)]).await;
    let refused = publish_as(&former, 1, &batch).await;
    assert!(is_fenced(&refused[0], 2), "{refused:?}");
    assert_eq!(publish_as(&successor, 2, &batch).await, [Outcome::Delivered]);
    let arrived = stream.arrived().await;
    assert!(arrived.len() == 3 && arrived[2].id() == batch[0].id(), "it is stored");
}

/// Each partition is of its own.
#[tokio::test]
async fn a_relay_keeps_the_partitions_that_it_has() {
    let server = nats_newest("").await;
    let stream = Stream::create(&server.url()).await;
    let (former, successor) = (connect(fenced(&stream)).await, connect(fenced(&stream)).await);
    let batch: Vec<_> = (0..4).map(|_| message(&stream.subject)).collect();
    let mut tokens = tokens(1, batch.len());
    for (token, partition) in tokens.iter_mut().zip([3, 4, 3, 4]) {
        token.partition.0 = partition;
    }
    publish_as(&successor, 2, &[message(&stream.subject)]).await;
    let batch: Vec<_> = batch.into_iter().map(std::sync::Arc::new).collect();
    let mut outcomes = vec![Outcome::Unknown; 4];
    let deadline = Instant::now() + Duration::from_secs(20);
    former.publish_fenced(&batch, &tokens, deadline, &mut outcomes).await;
    assert!(is_fenced(&outcomes[0], 2), "{outcomes:?}");
    assert!(is_fenced(&outcomes[2], 2), "{outcomes:?}");
    assert_eq!([&outcomes[1], &outcomes[3]], [&Outcome::Delivered; 2]);
}

/// A claim for each of them would bar what the others have under way. Seen to be three when a relay
/// made another claim where it found its own.
#[tokio::test]
async fn calls_and_publishers_of_one_relay_share_a_claim() {
    let server = nats_newest("").await;
    let stream = Stream::create(&server.url()).await;
    let (one, two) = (connect(fenced(&stream)).await, connect(fenced(&stream)).await);
    let batches = [(); 4].map(|()| keyed(&stream.subject, 0..300));
    let outcomes = tokio::join!(
        publish_as(&one, 5, &batches[0]),
        publish_as(&one, 5, &batches[1]),
        publish_as(&two, 5, &batches[2]),
        publish_as(&two, 5, &batches[3]),
    );
    let outcomes = [outcomes.0, outcomes.1, outcomes.2, outcomes.3];
    assert!(outcomes.iter().flatten().all(|outcome| *outcome == Outcome::Delivered));
    assert_eq!((stream.arrived().await.len(), stream.count().await), (1200, 1201), "one claim");
}

/// Seen to be sent, unfenced, when `publish` didn't look at the option.
#[tokio::test]
async fn without_epochs_nothing_is_sent() {
    let server = nats_newest("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(fenced(&stream)).await;
    let outcomes = publish(&publisher, &[message(&stream.subject), message("a b")]).await;
    let says = "the option `fence` needs the epochs of a relay";
    assert!(outcomes.iter().all(|outcome| is_unavailable(outcome, says)), "{outcomes:?}");
    assert_eq!(stream.count().await, 0);
}

/// Limits of the stream and operators may remove a claim while messages are under way. Seen to be
/// unavailable, what was under way, when it wasn't sent again.
#[tokio::test]
async fn a_claim_that_is_removed_is_made_again() {
    let server = nats_newest("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(fenced(&stream)).await;
    let batches = [keyed(&stream.subject, 0..1000), keyed(&stream.subject, 1000..2000)];
    let removing = async {
        for count in [300, 900] {
            while stream.count().await < count {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            remove_claims(&stream).await;
        }
    };
    let (one, two, ()) = tokio::join!(
        publish_as(&publisher, 1, &batches[0]),
        publish_as(&publisher, 1, &batches[1]),
        removing,
    );
    assert!(one.iter().chain(&two).all(|outcome| *outcome == Outcome::Delivered));
    assert_eq!(stream.arrived().await.len(), 2000);
}

async fn remove_claims(stream: &Stream) {
    let handle = stream.jetstream.get_stream(&stream.subject).await.unwrap();
    handle.purge().filter(format!("{}.fence.3", stream.subject)).await.unwrap();
}

/// Its epochs are lower than those that the stream has seen.
#[tokio::test]
async fn a_database_that_was_restored_needs_another_fence() {
    let server = nats_newest("").await;
    let stream = Stream::create(&server.url()).await;
    let publisher = connect(fenced(&stream)).await;
    publish_as(&publisher, 9, &[message(&stream.subject)]).await;
    let outcomes = publish_as(&publisher, 2, &[message(&stream.subject)]).await;
    assert!(is_fenced(&outcomes[0], 9), "{outcomes:?}");
    let renamed = NatsConfig { fence: Some("{topic}.new".parse().unwrap()), ..stream.config() };
    let renamed = connect(renamed).await;
    assert_eq!(publish_as(&renamed, 2, &[message(&stream.subject)]).await, [Outcome::Delivered]);
    // Or without the claims that there were: nobody keeps them in mind.
    remove_claims(&stream).await;
    assert_eq!(publish_as(&publisher, 2, &[message(&stream.subject)]).await, [Outcome::Delivered]);
}

/// A server, a stream, and a publisher that has sent one message to it, and so claimed the partition.
async fn through_proxy() -> (Server, Stream, Proxy, NatsPublisher) {
    let server = nats_newest("").await;
    let stream = Stream::create(&server.url()).await;
    let proxy = Proxy::start(server.address()).unwrap();
    let config = NatsConfig::new([proxy.address().to_string()]);
    let publisher = connect(NatsConfig { fence: fenced(&stream).fence, ..config }).await;
    publish_as(&publisher, 1, &[message(&stream.subject)]).await;
    (server, stream, proxy, publisher)
}

#[tokio::test]
async fn a_connection_cut_in_mid_batch_leaves_unknown_what_may_be_there() {
    let (_server, stream, proxy, publisher) = through_proxy().await;
    let held = proxy.hold();
    let batch = keyed(&stream.subject, 0..10);
    let cutting = async {
        while stream.count().await < 12 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        proxy.cut();
    };
    let (outcomes, ()) = tokio::join!(publish_as(&publisher, 1, &batch), cutting);
    assert_eq!(outcomes, vec![Outcome::Unknown; 10]);
    drop(held);
    assert_eq!(publish_as(&publisher, 1, &batch).await, vec![Outcome::Delivered; 10]);
    assert_eq!(stream.count().await, 12, "what is sent again is stored once, under the same claim");
}

/// FAILURES row 66, found by chaos: a claim that was asked for there ended no connection, as no message
/// waited for an answer. Seen to publish nothing more for the three minutes until the client noticed.
#[tokio::test]
async fn a_connection_on_which_no_claim_is_answered_is_left() {
    let (_server, stream, proxy, publisher) = through_proxy().await;
    proxy.half_open();
    let batch = [message(&stream.subject)];
    let outcomes = publish_as(&publisher, 2, &batch).await;
    assert!(matches!(outcomes[..], [Outcome::Unavailable(_)]), "{outcomes:?}");
    assert_eq!(publish_as(&publisher, 2, &batch).await, [Outcome::Delivered]);
}

/// That it was barred at first says nothing of what became of it then. Seen to be unavailable, though
/// it was there, when its first outcome stood until it had another.
#[tokio::test]
async fn what_is_sent_again_under_another_claim_is_unknown_until_it_is_answered() {
    let (_server, stream, proxy, publisher) = through_proxy().await;
    remove_claims(&stream).await;
    // The next claim is the third message of the stream, and the cut comes when it is referred to.
    proxy.cut_at(b"-Sequence: 3\r\n");
    let batch = [message(&stream.subject)];
    assert_eq!(publish_as(&publisher, 1, &batch).await, [Outcome::Unknown]);
    assert_eq!(stream.arrived().await[1].id(), batch[0].id());
}

#[tokio::test]
async fn a_fence_outlives_its_server() {
    let mut server = nats_newest("").await;
    let stream = Stream::create(&server.url()).await;
    let (former, successor) = (connect(fenced(&stream)).await, connect(fenced(&stream)).await);
    publish_as(&former, 1, &[message(&stream.subject)]).await;
    assert_eq!(publish_as(&successor, 2, &[message(&stream.subject)]).await, [Outcome::Delivered]);
    server.restart().await;
    while publish_as(&successor, 2, &[message(&stream.subject)]).await != [Outcome::Delivered] {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let outcomes = publish_as(&former, 1, &[message(&stream.subject)]).await;
    assert!(is_fenced(&outcomes[0], 2), "{outcomes:?}");
}

/// Claims have no id and no topic: who follows a topic isn't shown them.
#[tokio::test]
async fn a_tail_shows_no_claims() {
    let server = nats_newest("").await;
    let stream = Stream::create(&server.url()).await;
    let mut tail = NatsTail::connect(fenced(&stream), &stream.subject).await.unwrap();
    let (former, successor) = (connect(fenced(&stream)).await, connect(fenced(&stream)).await);
    let sent = [message(&stream.subject), message(&stream.subject)];
    publish_as(&former, 1, &sent[..1]).await;
    publish_as(&successor, 2, &sent[1..]).await;
    for message in sent {
        assert_eq!(tail.next().await.unwrap().id(), message.id());
    }
}

/// Work queues keep what nobody consumes.
#[tokio::test]
async fn a_work_queue_is_fenced() {
    let server = nats_newest("").await;
    let retention = stream::RetentionPolicy::WorkQueue;
    let config = stream::Config { retention, ..<_>::default() };
    let stream = Stream::create_as(&server.url(), config).await;
    let (former, successor) = (connect(fenced(&stream)).await, connect(fenced(&stream)).await);
    let send = || [message(&stream.subject)];
    assert_eq!(publish_as(&former, 1, &send()).await, [Outcome::Delivered]);
    assert_eq!(publish_as(&successor, 2, &send()).await, [Outcome::Delivered]);
    assert!(is_fenced(&publish_as(&former, 1, &send()).await[0], 2));
}
