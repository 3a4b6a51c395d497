//! Two nodes, of which one is down.

use std::time::Duration;

use lapin::options::QueueBindOptions;
use lapin::types::FieldTable;
use outbox_core::Outcome;
use outbox_rabbitmq::RabbitMqPublisher;
use outbox_testkit::servers::{rabbitmq, rabbitmq_beside};

use crate::rabbit::{Rabbit, bytes, connect, deliver_at_last, publish, unique};

/// FAILURES row 54: the broker returns what is for a queue whose node is down, as if there were
/// none, and answers with the code for one that doesn't exist. Seen to be rejected, and with
/// `declare_queues` to fail.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_outage_of_a_queues_node_kills_none_of_its_messages() {
    let first = rabbitmq("", "").await;
    let mut second = rabbitmq_beside(&first).await;
    let rabbit = Rabbit::at(second.url(), &[]).await;
    let queue = rabbit.queue.as_str();
    let (bind, none) = (QueueBindOptions::default(), FieldTable::default());
    let bound =
        rabbit.channel.queue_bind(queue.into(), "amq.direct".into(), queue.into(), bind, none);
    bound.await.unwrap();
    let through = async |options: &str| connect(&format!("{}?{options}", first.url())).await;
    let by_name = through("").await;
    let (declaring, anew) =
        (through("declare_queues=classic").await, through("declare_queues=classic").await);
    let by_exchange = through("exchange=amq.direct").await;
    for publisher in [&by_name, &declaring, &by_exchange] {
        assert_eq!(publish(publisher, &[rabbit.message()]).await, [Outcome::Delivered]);
    }
    second.kill();
    until_returned(&by_exchange, &rabbit).await;
    for publisher in [&by_name, &declaring, &anew] {
        for _ in 0..2 {
            for outcome in publish(publisher, &rabbit.messages(3)).await {
                let Outcome::Unavailable(reason) = outcome else { panic!("{outcome:?}") };
                assert!(reason.as_str().contains("is down or inaccessible"), "{reason}");
            }
        }
    }
    let nowhere = bytes(&unique("nowhere"), 7);
    let outcomes = publish(&by_name, &[nowhere]).await;
    assert!(matches!(outcomes[0], Outcome::Rejected(_)), "{outcomes:?}");
    second.start_again().await;
    for publisher in [&by_name, &declaring, &anew, &by_exchange] {
        deliver_at_last(publisher, &rabbit.message()).await;
    }
}

/// The other node may take a while to notice; meanwhile it takes messages and confirms none.
async fn until_returned(by_exchange: &RabbitMqPublisher, rabbit: &Rabbit) {
    for _ in 0..600 {
        let batch = [rabbit.message()];
        match publish(by_exchange, &batch).await.remove(0) {
            Outcome::Failed(reason) if reason.as_str().contains("can be reached") => return,
            Outcome::Rejected(reason) => panic!("{reason}"),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    panic!("it never comes back");
}
