//! What the tests of an ORM's adapter put into its outbox and ask of its store.

use std::time::Duration;

use outbox_core::{
    FetchRequest, LeaseRequest, Message, Partition, PartitionRead, RelayId, RowRef, Seq, StoredRow,
};
use uuid::Uuid;

use crate::faults::Proxy;

/// A message of that key.
pub fn message(key: &str) -> Message {
    Message::bytes("orders", format!("payload of {key}")).key(key).build().expect("it is valid")
}

/// Their keys, in their order.
pub fn keys(rows: &[StoredRow]) -> Vec<String> {
    rows.iter().map(|row| row.message.key().unwrap_or("").to_owned()).collect()
}

/// Another relay each time.
pub fn relay() -> RelayId {
    RelayId(Uuid::now_v7())
}

/// Takes those partitions for half a minute.
pub fn lease_request(relay: RelayId, take: &[u16]) -> LeaseRequest {
    LeaseRequest {
        relay,
        ttl: Duration::from_secs(30),
        take: take.iter().copied().map(Partition).collect(),
        release: vec![],
        sick: false,
        leaving: false,
    }
}

/// Everything that is pending in an outbox of four partitions.
pub fn fetch_all() -> FetchRequest {
    let read = |number| PartitionRead {
        partition: Partition(number),
        after: Seq::START,
        limit: 100_000,
        bytes: u64::MAX,
        parked: false,
    };
    FetchRequest { reads: (0..4).map(read).collect(), horizon: Seq::START, look_limit: 1000 }
}

/// How `row` is named when it is settled.
pub fn row_ref(row: &StoredRow) -> RowRef {
    RowRef { partition: row.partition, seq: row.seq, id: row.message.id() }
}

/// A proxy before the server of `url`, and the URL that leads through it.
pub fn behind_proxy(url: &str) -> (Proxy, String) {
    let (_, rest) = url.split_once('@').expect("a URL with a user");
    let (server, _) = rest.split_once('/').expect("a URL with a database");
    let proxy = Proxy::start(server.parse().expect("an address")).expect("a free port");
    let through = url.replace(server, &proxy.address().to_string());
    (proxy, through)
}
