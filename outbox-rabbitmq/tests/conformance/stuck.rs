//! A queue that takes messages and says nothing.

use std::time::Duration;

use outbox_core::{Outcome, Publisher as _};
use outbox_testkit::servers::{rabbitmq, rabbitmqctl};

use crate::rabbit::{Rabbit, bytes, connect, publish_within, unique};

/// Those that were confirmed are delivered long before the deadline, though others of the batch
/// are not, and none is that came back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_stands_still_holds_up_its_own_messages_only() {
    let server = rabbitmq("", "").await;
    let rabbit = Rabbit::at(server.url(), &[]).await;
    let stuck = Rabbit::at(server.url(), &[]).await;
    rabbitmqctl(&server, &["eval", &to_queue("suspend", &stuck.queue)]).await;
    let publisher = connect(&server.url()).await;
    let nowhere = unique("nowhere");
    let sent: Vec<_> = (0..60)
        .map(|n| match n % 3 {
            0 => rabbit.message(),
            1 => stuck.message(),
            _ => bytes(&nowhere, 7),
        })
        .collect();
    let outcomes = publish_within(&publisher, &sent, Duration::from_secs(3)).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        match n % 3 {
            0 => assert_eq!(*outcome, Outcome::Delivered),
            1 => assert_eq!(*outcome, Outcome::Unknown),
            _ => assert!(matches!(outcome, Outcome::Rejected(_)), "{outcome:?}"),
        }
    }
    // All was read: the connection stays.
    let again = publish_within(&publisher, &[rabbit.message()], Duration::from_secs(20)).await;
    assert_eq!(again, [Outcome::Delivered]);
    // Closing lets it end what is under way: the broker would confirm nothing any more.
    let last = [stuck.message()];
    let close = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        publisher.close().await
    };
    let resume = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        rabbitmqctl(&server, &["eval", &to_queue("resume", &stuck.queue)]).await;
    };
    let publish = publish_within(&publisher, &last, Duration::from_mins(1));
    let (outcomes, closed, ()) = tokio::join!(publish, close, resume);
    assert_eq!((outcomes, closed), (vec![Outcome::Delivered], Ok(())));
}

/// Seen to leave all unsent while destinations were asked about one after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_destination_that_says_nothing_holds_up_its_own_messages_only() {
    let server = rabbitmq("", "").await;
    let stuck = Rabbit::at(server.url(), &[]).await;
    let rabbit = Rabbit::at(server.url(), &[]).await;
    rabbitmqctl(&server, &["eval", &to_queue("suspend", &stuck.queue)]).await;
    let publisher = connect(&format!("{}?declare_queues=classic", server.url())).await;
    let created = unique("created");
    let sent: Vec<_> = (0..30)
        .map(|n| match n % 3 {
            0 => stuck.message(),
            1 => rabbit.message(),
            _ => bytes(&created, 7),
        })
        .collect();
    for _ in 0..2 {
        let outcomes = publish_within(&publisher, &sent, Duration::from_secs(3)).await;
        for (n, outcome) in outcomes.iter().enumerate() {
            let unsent = Outcome::Unavailable("not sent by the deadline".into());
            assert_eq!(*outcome, if n % 3 == 0 { unsent } else { Outcome::Delivered }, "{n}");
        }
    }
    assert_eq!(rabbit.arrived_ids().await.len(), 20);
}

/// Suspends or resumes the queue's process.
fn to_queue(what: &str, queue: &str) -> String {
    let name = format!("rabbit_misc:r(<<\"/\">>, queue, <<\"{queue}\">>)");
    format!("{{ok, Q}} = rabbit_amqqueue:lookup({name}), sys:{what}(amqqueue:get_pid(Q)).")
}
