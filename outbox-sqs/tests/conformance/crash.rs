//! A service that is killed.

use std::time::Duration;

use outbox_core::{Outcome, Publisher};
use outbox_sqs::SqsConfig;
use outbox_testkit::servers::sqs;

use crate::faults::kind;
use crate::queue::{Queue, client_of, random_name};
use crate::sqs::{connect, message, publish, publish_within};

/// Its queues are gone with it, so that they are created again, as an operator would have to.
#[tokio::test]
async fn a_service_killed_in_mid_batch_is_used_again_when_it_is_back() {
    let mut server = sqs().await;
    let config: SqsConfig = server.url().parse().unwrap();
    let client = client_of(&config);
    let name = random_name(false);
    let queue = Queue::create_at(client.clone(), &name, &[]).await;
    let publisher = connect(SqsConfig { concurrency: 1, ..config }).await;
    assert_eq!(publish(&publisher, &[message(&name)]).await, [Outcome::Delivered]);

    // While it takes one request after the other.
    let batch: Vec<_> = (0..3000).map(|_| message(&name)).collect();
    let killing = async {
        while queue.count().await < 30 {}
        server.kill();
    };
    let publishing = publish_within(&publisher, &batch, Duration::from_mins(2));
    let (outcomes, ()) = tokio::join!(publishing, killing);
    let count = |of: &str| outcomes.iter().filter(|outcome| kind(outcome) == of).count();
    let delivered = count("delivered");
    assert!((20..3000).contains(&delivered), "{delivered}");
    assert!(outcomes[..delivered].iter().all(|outcome| *outcome == Outcome::Delivered));
    assert!(count("unknown") <= 10, "only one request was under way: {}", count("unknown"));
    assert_eq!(delivered + count("unknown") + count("unavailable"), 3000);
    assert!(publisher.check().await.is_err());

    server.start_again().await;
    let outcomes = publish(&publisher, &batch[..1]).await;
    assert_eq!(kind(&outcomes[0]), "failed", "the queue is gone: {outcomes:?}");
    let queue = Queue::create_at(client, &name, &[]).await;
    assert_eq!(publish(&publisher, &batch[..25]).await, vec![Outcome::Delivered; 25]);
    assert_eq!(queue.settled().await.len(), 25);
    assert_eq!(publisher.check().await, Ok(()));

    // While it answers nothing: of that nothing can be delivered.
    server.pause();
    let killing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        server.kill();
    };
    let (outcomes, ()) = tokio::join!(publish(&publisher, &batch[..25]), killing);
    let kinds: Vec<_> = outcomes.iter().map(kind).collect();
    assert_eq!(kinds[..10], ["unknown"; 10], "{outcomes:?}");
    assert_eq!(kinds[10..], ["unavailable"; 15], "{outcomes:?}");
}
