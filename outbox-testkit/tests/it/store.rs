//! The reference store, however rows become visible.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use outbox_core::{Admin, Message, Reason, Store, Visibility};
use outbox_testkit::memory::{MemoryStore, Sabotage, Transaction};
use outbox_testkit::suite::store::{StoreHarness, Writer};

pub(crate) struct Memory<M> {
    store: MemoryStore,
    mode: std::marker::PhantomData<M>,
}

pub(crate) trait Mode: Send + Sync + 'static {
    const VISIBILITY: Visibility;
    const SABOTAGE: Option<Sabotage> = None;
}

struct InMemory(MemoryStore, Transaction);

#[async_trait]
impl<M: Mode> StoreHarness for Memory<M> {
    async fn open() -> Self {
        let store = MemoryStore::new(16, M::VISIBILITY);
        if let Some(sabotage) = M::SABOTAGE {
            store.database().sabotage(sabotage);
        }
        Self { store, mode: std::marker::PhantomData }
    }

    async fn store(&self) -> Arc<dyn Store> {
        Arc::new(self.store.clone())
    }

    async fn admin(&self) -> Arc<dyn Admin> {
        Arc::new(self.store.clone())
    }

    async fn begin(&self) -> Box<dyn Writer> {
        let transaction = self.store.database().begin().expect("no test waits for a writer");
        Box::new(InMemory(self.store.clone(), transaction))
    }

    async fn enqueue_defective(&self, message: &Message) -> bool {
        let mut database = self.store.database();
        let transaction = database.begin().expect("no test waits for a writer");
        let defect = Reason::new("the headers are no pairs");
        database.insert_defective(self.store.now(), transaction, message.clone(), defect);
        database.commit(transaction);
        true
    }
}

#[async_trait]
impl Writer for InMemory {
    async fn insert(&mut self, messages: &[Message]) {
        let now = self.0.now();
        let mut database = self.0.database();
        for message in messages {
            database.insert(now, self.1, message.clone());
        }
    }

    async fn commit(self: Box<Self>) {
        self.0.database().commit(self.1);
    }

    async fn rollback(self: Box<Self>) {
        self.0.database().rollback(self.1);
    }
}

macro_rules! mode {
    ($module:ident, $visibility:expr) => {
        mod $module {
            use super::*;

            struct This;

            impl Mode for This {
                const VISIBILITY: Visibility = $visibility;
            }

            outbox_testkit::store_suite!(Memory<This>);
        }
    };
}

mode!(ordered, Visibility::Ordered);
mode!(snapshot, Visibility::Snapshot);
mode!(within, Visibility::Within(Duration::from_mins(1)));
