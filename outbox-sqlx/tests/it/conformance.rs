//! The conformance suite of stores, whole: on every database, and where databases have roles, once
//! more with the work shared among them.

use std::sync::Arc;

use async_trait::async_trait;
use outbox_core::{Admin, Message, Store};
use outbox_sqlx::{Duty, OutboxTransaction};
use outbox_testkit::suite::store::{StoreHarness, Writer};

use crate::roles::Shared;
use crate::support::{Bed, Kind};

pub(crate) struct OpenTransaction<DB: Kind>(
    pub(crate) OutboxTransaction<'static, DB>,
    pub(crate) outbox_sqlx::Outbox<DB>,
);

#[async_trait]
impl<DB: Kind> Writer for OpenTransaction<DB> {
    async fn insert(&mut self, messages: &[Message]) {
        self.1.enqueue_all(&mut self.0, messages).await.unwrap();
    }

    async fn commit(self: Box<Self>) {
        self.0.commit().await.unwrap();
    }

    async fn rollback(self: Box<Self>) {
        self.0.rollback().await.unwrap();
    }
}

/// Enqueues it and spoils the newest row.
pub(crate) async fn enqueue_defective<DB: Kind>(
    harness: &impl StoreHarness,
    bed: &Bed<DB>,
    message: &Message,
) -> bool {
    let mut writer = harness.begin().await;
    writer.insert(std::slice::from_ref(message)).await;
    writer.commit().await;
    let table = bed.table("");
    let place = format!("(SELECT m FROM (SELECT max(seq) AS m FROM {table}) AS t)");
    let headers = r#"'{"not": "pairs"}'"#;
    bed.execute(format!("UPDATE {table} SET headers = {headers} WHERE seq = {place}")).await;
    true
}

macro_rules! conformance {
    ($module:ident, $database:ty) => {
        mod $module {
            use super::*;

            pub(crate) struct Harness(Bed<$database>);

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
                    let transaction = self.0.outbox.begin(self.0.pool()).await.unwrap();
                    Box::new(OpenTransaction(transaction, self.0.outbox.clone()))
                }

                async fn enqueue_defective(&self, message: &Message) -> bool {
                    enqueue_defective(self, &self.0, message).await
                }
            }

            outbox_testkit::store_suite!(Harness);
        }
    };
}

conformance!(postgres, sqlx::Postgres);
conformance!(newest_postgres, sqlx::Postgres);
conformance!(mariadb, sqlx::MySql);
conformance!(sqlite, sqlx::Sqlite);

/// The application enqueues, the relay has the store, the operator looks after dead letters: none
/// has other rights than those that are printed.
macro_rules! under_roles {
    ($module:ident, $open:ident, $database:ty) => {
        mod $module {
            use super::*;

            pub(crate) struct Harness(Shared<$database>);

            #[async_trait]
            impl StoreHarness for Harness {
                async fn open() -> Self {
                    Self(crate::roles::$open().await)
                }

                async fn store(&self) -> Arc<dyn Store> {
                    Arc::new(self.0.store(Duty::Relay).await.unwrap())
                }

                async fn admin(&self) -> Arc<dyn Admin> {
                    Arc::new(self.0.store(Duty::Operate).await.unwrap())
                }

                async fn begin(&self) -> Box<dyn Writer> {
                    let outbox = self.0.outbox(Duty::Enqueue).await.unwrap();
                    let transaction = outbox.begin(self.0.pool(Duty::Enqueue)).await.unwrap();
                    Box::new(OpenTransaction(transaction, outbox))
                }

                async fn enqueue_defective(&self, message: &Message) -> bool {
                    enqueue_defective(self, &self.0.bed, message).await
                }

                async fn close(self: Box<Self>) {
                    self.0.close().await;
                }
            }

            outbox_testkit::store_suite!(Harness);
        }
    };
}

under_roles!(postgres_with_roles, postgres, sqlx::Postgres);
under_roles!(newest_postgres_with_roles, newest_postgres, sqlx::Postgres);
under_roles!(mariadb_with_roles, mariadb, sqlx::MySql);
