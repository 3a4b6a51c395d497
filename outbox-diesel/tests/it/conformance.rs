//! The conformance suite of stores, whole, on every database.

use std::sync::Arc;

use async_trait::async_trait;
use diesel_async::{AsyncMysqlConnection, AsyncPgConnection};
use outbox_core::{Admin, Message, Store};
use outbox_diesel::Error;
use outbox_testkit::suite::store::{StoreHarness, Writer};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use crate::support::{AsyncSqlite, Bed, Kind};

/// A transaction in a task of its own, which does as it is told.
struct OpenTransaction {
    orders: mpsc::UnboundedSender<Order>,
    task: JoinHandle<Result<(), Option<Error>>>,
}

enum Order {
    Insert(Vec<Message>, oneshot::Sender<()>),
    Commit,
}

impl OpenTransaction {
    async fn begin<C: Kind>(bed: &Bed<C>) -> Self {
        let (mut connection, outbox) = (bed.connect().await, bed.outbox.clone());
        let (orders, mut told) = mpsc::unbounded_channel();
        let (begun, begins) = oneshot::channel();
        let task = tokio::spawn(async move {
            let work = async |mut tx: outbox_diesel::OutboxTransaction<'_, C>| {
                begun.send(()).unwrap();
                while let Some(order) = told.recv().await {
                    match order {
                        Order::Insert(messages, done) => {
                            outbox.enqueue_all(&mut *tx, &messages).await?;
                            done.send(()).unwrap();
                        }
                        Order::Commit => return Ok(()),
                    }
                }
                Err(None)
            };
            outbox.transaction(&mut connection, work).await
        });
        begins.await.unwrap();
        Self { orders, task }
    }
}

#[async_trait]
impl Writer for OpenTransaction {
    async fn insert(&mut self, messages: &[Message]) {
        let (done, inserted) = oneshot::channel();
        self.orders.send(Order::Insert(messages.to_vec(), done)).ok().unwrap();
        inserted.await.unwrap();
    }

    async fn commit(self: Box<Self>) {
        self.orders.send(Order::Commit).ok().unwrap();
        self.task.await.unwrap().unwrap();
    }

    async fn rollback(self: Box<Self>) {
        drop(self.orders);
        assert!(self.task.await.unwrap().unwrap_err().is_none());
    }
}

macro_rules! conformance {
    ($module:ident, $connection:ty) => {
        mod $module {
            use super::*;

            pub(crate) struct Harness(Bed<$connection>);

            #[async_trait]
            impl StoreHarness for Harness {
                async fn open() -> Self {
                    Self(crate::support::$module().await)
                }

                async fn store(&self) -> Arc<dyn Store> {
                    Arc::new(self.0.outbox.store(self.0.driver()).await.unwrap())
                }

                async fn admin(&self) -> Arc<dyn Admin> {
                    Arc::new(self.0.outbox.store(self.0.driver()).await.unwrap())
                }

                async fn begin(&self) -> Box<dyn Writer> {
                    Box::new(OpenTransaction::begin(&self.0).await)
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
    };
}

conformance!(postgres, AsyncPgConnection);
conformance!(newest_postgres, AsyncPgConnection);
conformance!(mariadb, AsyncMysqlConnection);
conformance!(sqlite, AsyncSqlite);
