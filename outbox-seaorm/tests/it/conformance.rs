//! The conformance suite of stores, whole, on every database.

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Admin, Message, Store};
use outbox_seaorm::{Outbox, OutboxTransaction};
use outbox_testkit::suite::store::{StoreHarness, Writer};

use crate::support::Bed;

struct OpenTransaction(OutboxTransaction, Outbox);

#[async_trait]
impl Writer for OpenTransaction {
    async fn insert(&mut self, messages: &[Message]) {
        self.1.enqueue_all(&self.0, messages).await.unwrap();
    }

    async fn commit(self: Box<Self>) {
        self.0.commit().await.unwrap();
    }

    async fn rollback(self: Box<Self>) {
        self.0.rollback().await.unwrap();
    }
}

macro_rules! conformance {
    ($($module:ident),+) => {$(
        mod $module {
            use super::*;

            pub(crate) struct Harness(Bed);

            #[async_trait]
            impl StoreHarness for Harness {
                async fn open() -> Self {
                    Self(crate::support::$module().await)
                }

                async fn store(&self) -> Arc<dyn Store> {
                    Arc::new(self.0.outbox.store().await.unwrap())
                }

                async fn admin(&self) -> Arc<dyn Admin> {
                    Arc::new(self.0.outbox.store().await.unwrap())
                }

                async fn begin(&self) -> Box<dyn Writer> {
                    let transaction = self.0.outbox.begin(self.0.db()).await.unwrap();
                    Box::new(OpenTransaction(transaction, self.0.outbox.clone()))
                }

                async fn enqueue_defective(&self, message: &Message) -> bool {
                    let mut writer = self.begin().await;
                    writer.insert(std::slice::from_ref(message)).await;
                    writer.commit().await;
                    let table = self.0.table("");
                    let place = format!("(SELECT m FROM (SELECT max(seq) AS m FROM {table}) AS t)");
                    let headers = r#"'{"not": "pairs"}'"#;
                    let sql = format!("UPDATE {table} SET headers = {headers} WHERE seq = {place}");
                    self.0.execute(&sql).await;
                    true
                }
            }

            outbox_testkit::store_suite!(Harness);
        }
    )+};
}

conformance!(postgres, newest_postgres, mariadb, sqlite);
