//! Behind PgBouncer, which in its transaction mode gives each transaction another connection to the
//! server. FAILURES row 28.
//!
//! Seen to fail with the question left out whether connections are shared: statements were there
//! already (42P05), or not there (26000).

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Admin, Message, Store};
use outbox_sqlx::{Outbox, OutboxConfig};
use outbox_testkit::servers::{Server, pgbouncer};
use outbox_testkit::service::drain;
use outbox_testkit::suite::store::{StoreHarness, Writer};
use sqlx::Postgres;

use crate::conformance::{OpenTransaction, enqueue_defective};
use crate::support::{self, Bed, message, pooled_place};

/// An outbox and its way there, in the order in which they end.
struct Pooled {
    bed: Bed<Postgres>,
    _pooler: Server,
}

impl Pooled {
    async fn new(mode: &str, connections: u8) -> Self {
        let pooler = pgbouncer(mode, connections).await;
        Self { bed: Bed::new(pooled_place(&pooler.url()).await).await, _pooler: pooler }
    }
}

#[async_trait]
impl StoreHarness for Pooled {
    async fn open() -> Self {
        Self::new("transaction", 8).await
    }

    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.bed.outbox.store().await.unwrap())
    }

    async fn admin(&self) -> Arc<dyn Admin> {
        Arc::new(self.bed.outbox.store().await.unwrap())
    }

    async fn begin(&self) -> Box<dyn Writer> {
        let transaction = self.bed.outbox.begin(self.bed.pool()).await.unwrap();
        Box::new(OpenTransaction(transaction, self.bed.outbox.clone()))
    }

    async fn enqueue_defective(&self, message: &Message) -> bool {
        enqueue_defective(self, &self.bed, message).await
    }
}

mod conformance {
    use super::Pooled;

    outbox_testkit::store_suite!(Pooled);
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_many_writers_are_relayed() {
    const WRITERS: usize = 8;
    const EACH: usize = 60;

    let pooled = Pooled::new("transaction", 3).await;
    let bed = &pooled.bed;
    let write = async |writer: usize| {
        let key = format!("key-{writer}");
        for number in 0..EACH {
            let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
            tx.emit(Message::json("orders", &number).key(&*key)).unwrap();
            if number % 2 == 0 {
                bed.outbox.enqueue(&mut tx, message("beside")).await.unwrap();
            }
            tx.commit().await.unwrap();
        }
    };
    let writers = (0..WRITERS).map(write);
    let relay = async { drain(Arc::new(bed.outbox.store().await.unwrap())).await };
    // A relay from the start, though it may find nothing yet, and one when all is there.
    let (mut published, _) = tokio::join!(relay, futures::future::join_all(writers));
    published.extend(drain(Arc::new(bed.outbox.store().await.unwrap())).await);

    let mut of_key: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for message in published.iter().filter(|message| message.key() != Some("beside")) {
        let number = serde_json::from_slice(message.payload()).unwrap();
        of_key.entry(message.key().unwrap().to_owned()).or_default().push(number);
    }
    assert_eq!(of_key.len(), WRITERS);
    for (key, numbers) in of_key {
        assert!(numbers.into_iter().eq(0..EACH), "{key}: each once, in its order");
    }
    assert_eq!(published.len(), WRITERS * EACH * 3 / 2);
}

#[tokio::test]
async fn who_shares_connections_is_known() {
    assert!(Pooled::new("transaction", 8).await.bed.outbox.is_pooled());
    assert!(Pooled::new("transaction", 1).await.bed.outbox.is_pooled());
    assert!(!Pooled::new("session", 20).await.bed.outbox.is_pooled());
    assert!(!support::postgres().await.outbox.is_pooled());
    assert!(!support::newest_postgres().await.outbox.is_pooled());
}

/// A consumer's transaction, too.
#[tokio::test]
async fn what_is_received_is_noted_once() {
    let pooled = Pooled::new("transaction", 3).await;
    let (bed, inbox) = (&pooled.bed, pooled.bed.outbox.inbox());
    let receive = async || {
        let mut tx = bed.outbox.begin(bed.pool()).await.unwrap();
        let receipt = inbox.accept(&mut tx, "billing", "1").await.unwrap();
        tx.commit().await.unwrap();
        receipt
    };
    assert_eq!(receive().await, outbox_sqlx::Receipt::First);
    assert_eq!(receive().await, outbox_sqlx::Receipt::Duplicate);
}

/// It gives each statement another connection, so that there are no transactions.
#[tokio::test]
async fn a_pooler_without_transactions_is_refused() {
    let (bed, pooler) = (support::postgres().await, pgbouncer("statement", 4).await);
    let place = pooled_place(&pooler.url()).await;
    let config = OutboxConfig::named(bed.place.names.clone());
    let refusal = Outbox::open_with(&place.pool, config).await.unwrap_err();
    let said = outbox_core::Reason::of(&refusal);
    assert!(said.as_str().contains("statement pooling"), "{said}");
}
