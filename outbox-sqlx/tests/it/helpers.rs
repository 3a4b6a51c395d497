//! What a service's tests are helped with, on every database.

use std::sync::Arc;

use outbox_core::Message;
use outbox_testkit::service::{assert_enqueued, assert_nothing_enqueued, drain, enqueued};

use crate::support::{Bed, Kind, for_every_database};

for_every_database!(what_waits_is_found_and_drained);

async fn what_waits_is_found_and_drained<DB: Kind>(bed: Bed<DB>) {
    assert_nothing_enqueued(&bed.store).await;
    let messages = bed.enqueue(&["a", "b", "a"]).await;
    let ids_of_a = |messages: &[Message]| -> Vec<_> {
        let of_a = messages.iter().filter(|message| message.key() == Some("a"));
        of_a.map(Message::id).collect()
    };
    let waiting = enqueued(&bed.store).await;
    assert_eq!((waiting.len(), ids_of_a(&waiting)), (3, ids_of_a(&messages)));
    let of_b = assert_enqueued(&bed.store, |message| message.key() == Some("b")).await;
    assert_eq!(of_b.id(), messages[1].id());
    let published = drain(Arc::new(bed.outbox.store().await.unwrap())).await;
    assert_eq!((published.len(), ids_of_a(&published)), (3, ids_of_a(&messages)));
    assert_nothing_enqueued(&bed.store).await;
}
