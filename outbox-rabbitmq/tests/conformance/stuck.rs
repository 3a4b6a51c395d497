//! A queue that takes messages and says nothing.

use std::time::Duration;

use outbox_core::{Outcome, Publisher as _};

use crate::rabbit::{Rabbit, bytes, connect, publish_within, unique};
use crate::server::Server;

/// Those that were confirmed are delivered long before the deadline, though others of the batch
/// are not, and none is that came back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_stands_still_holds_up_its_own_messages_only() {
    let Some(server) = Server::start().await else { return };
    let rabbit = Rabbit::at(server.url(), &[]).await.unwrap();
    let stuck = Rabbit::at(server.url(), &[]).await.unwrap();
    server.control(&["eval", &to_queue("suspend", &stuck.queue)]).await;
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
    // All was written: the connection stays.
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
        server.control(&["eval", &to_queue("resume", &stuck.queue)]).await;
    };
    let publish = publish_within(&publisher, &last, Duration::from_mins(1));
    let (outcomes, closed, ()) = tokio::join!(publish, close, resume);
    assert_eq!((outcomes, closed), (vec![Outcome::Delivered], Ok(())));
}

/// Suspends or resumes the queue's process.
fn to_queue(what: &str, queue: &str) -> String {
    let name = format!("rabbit_misc:r(<<\"/\">>, queue, <<\"{queue}\">>)");
    format!("{{ok, Q}} = rabbit_amqqueue:lookup({name}), sys:{what}(amqqueue:get_pid(Q)).")
}
