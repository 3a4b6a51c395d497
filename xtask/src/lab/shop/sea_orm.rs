//! The service on SeaORM.

use anyhow::Result;
use async_trait::async_trait;
use outbox_core::Message;
use outbox_seaorm::{Outbox, OutboxConfig};
use sea_orm::entity::prelude::*;
use sea_orm::{
    ActiveValue, ConnectOptions, Database, DatabaseConnection, ExprTrait as _,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};

use super::{Client, Purchase};

mod account {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "bench_accounts")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: i64,
        pub(super) balance: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

mod order {
    use sea_orm::entity::prelude::*;

    #[derive(Clone, Debug, PartialEq, Eq, DeriveEntityModel)]
    #[sea_orm(table_name = "bench_orders")]
    pub(super) struct Model {
        #[sea_orm(primary_key, auto_increment = false)]
        pub(super) id: i64,
        pub(super) account: i64,
        pub(super) amount: i64,
    }

    #[derive(Copy, Clone, Debug, EnumIter, DeriveRelation)]
    pub(super) enum Relation {}

    impl ActiveModelBehavior for ActiveModel {}
}

pub(super) async fn clients(
    url: &str,
    config: OutboxConfig,
    count: u32,
) -> Result<Vec<Box<dyn Client>>> {
    let mut options = ConnectOptions::new(url);
    options.max_connections(count).sqlx_logging(false);
    let db = Database::connect(options).await?;
    let outbox = Outbox::open_with(&db, config).await?;
    let client = |_| Box::new(SeaOrm { db: db.clone(), outbox: outbox.clone() }) as _;
    Ok((0..count).map(client).collect())
}

struct SeaOrm {
    db: DatabaseConnection,
    outbox: Outbox,
}

#[async_trait]
impl Client for SeaOrm {
    async fn buy(&mut self, purchase: Purchase) -> Result<()> {
        let options = TransactionOptions {
            sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
            ..TransactionOptions::default()
        };
        let transaction = self.db.begin_with_options(options).await?;
        write(&transaction, purchase).await?;
        Ok(transaction.commit().await?)
    }

    async fn buy_and_emit(&mut self, purchase: Purchase, events: usize) -> Result<()> {
        let mut transaction = self.outbox.begin(&self.db).await?;
        write(&transaction, purchase).await?;
        for event in purchase.events(events) {
            transaction.emit(event)?;
        }
        Ok(transaction.commit().await?)
    }

    async fn enqueue(&mut self, messages: &[Message], chunk: usize) -> Result<()> {
        let transaction = self.outbox.begin(&self.db).await?;
        for messages in messages.chunks(chunk) {
            self.outbox.enqueue_all(&transaction, messages).await?;
        }
        Ok(transaction.commit().await?)
    }
}

async fn write(connection: &impl ConnectionTrait, purchase: Purchase) -> Result<()> {
    let Purchase { order, account } = purchase;
    let charged = Expr::col(account::Column::Balance).sub(7);
    account::Entity::update_many()
        .col_expr(account::Column::Balance, charged)
        .filter(account::Column::Id.eq(account))
        .exec(connection)
        .await?;
    let order = order::ActiveModel {
        id: ActiveValue::Set(order),
        account: ActiveValue::Set(account),
        amount: ActiveValue::Set(7),
    };
    order::Entity::insert(order).exec_without_returning(connection).await?;
    Ok(())
}
