//! Messages for which the broker closes the channel.

use outbox_core::{Outcome, Publisher as _};
use outbox_testkit::servers::{rabbitmq, rabbitmqctl};

use crate::rabbit::{Rabbit, closed_under, connect, is_unsent, publish};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_channel_concerns_the_message_if_it_is_alone() {
    let server = rabbitmq("max_message_size = 100000\n", "").await;
    let rabbit = Rabbit::at(server.url(), &[]).await;
    let publisher = connect(&server.url()).await;
    let large = rabbit.bytes(200_000);
    let outcomes = publish(&publisher, std::slice::from_ref(&large)).await;
    let Outcome::Rejected(reason) = &outcomes[0] else { panic!("{outcomes:?}") };
    assert!(reason.as_str().contains("larger than configured max size"), "{reason}");
    // Beside others it can't be told which one it was.
    let sent = [rabbit.message(), large, rabbit.message()];
    let outcomes = publish(&publisher, &sent).await;
    assert!(closed_under(&outcomes[1], &outcomes[2]), "{outcomes:?}");
    assert_eq!(publish(&publisher, &[rabbit.message()]).await, [Outcome::Delivered]);
    assert_eq!(publisher.check().await, Ok(()));
    let arrived = rabbit.arrived_ids().await;
    assert!(!arrived.contains(&sent[1].id()) && !arrived.contains(&sent[2].id()));

    rabbitmqctl(&server, &["add_user", "reader", "secret"]).await;
    rabbitmqctl(&server, &["set_permissions", "reader", "", "", ".*"]).await;
    let publisher = connect(&server.url().replace("guest:guest", "reader:secret")).await;
    let outcomes = publish(&publisher, &rabbit.messages(3)).await;
    assert!(is_refused(&outcomes[0]), "{outcomes:?}");
    assert!(
        outcomes.iter().all(|outcome| is_refused(outcome) || is_unsent(outcome)),
        "{outcomes:?}"
    );
}

fn is_refused(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Failed(reason) if reason.as_str().contains("access to exchange"))
}
