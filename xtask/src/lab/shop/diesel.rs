//! The service on diesel-async.

use anyhow::Result;
use async_trait::async_trait;
use diesel::{ExpressionMethods as _, QueryDsl as _, SqliteConnection};
use diesel_async::sync_connection_wrapper::SyncConnectionWrapper;
use diesel_async::{
    AsyncConnection, AsyncMysqlConnection, AsyncPgConnection, RunQueryDsl as _,
    SimpleAsyncConnection as _,
};
use outbox_core::Message;
use outbox_diesel::{Outbox, OutboxConfig, OutboxTransaction};

use super::{Client, Purchase};
use crate::lab::target::Target;

diesel::table! {
    bench_accounts (id) {
        id -> BigInt,
        balance -> BigInt,
    }
}

diesel::table! {
    bench_orders (id) {
        id -> BigInt,
        account -> BigInt,
        amount -> BigInt,
    }
}

type AsyncSqlite = SyncConnectionWrapper<SqliteConnection>;

pub(super) async fn clients(
    target: Target,
    url: &str,
    config: OutboxConfig,
    count: u32,
) -> Result<Vec<Box<dyn Client>>> {
    let mut clients: Vec<Box<dyn Client>> = Vec::new();
    for _ in 0..count {
        let config = config.clone();
        clients.push(match target {
            Target::Sqlite => {
                // Diesel takes a path, and leaves to the service what sqlx does by itself.
                let path = url.trim_start_matches("sqlite:").trim_end_matches("?mode=rwc");
                let mut connection = AsyncSqlite::establish(path).await?;
                let set = "PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON";
                connection.batch_execute(set).await?;
                Box::new(Diesel::open(connection, config).await?)
            }
            Target::Mariadb => {
                let connection = AsyncMysqlConnection::establish(url).await?;
                Box::new(Diesel::open(connection, config).await?)
            }
            Target::Postgres | Target::PostgresNewest => {
                let connection = AsyncPgConnection::establish(url).await?;
                Box::new(Diesel::open(connection, config).await?)
            }
        });
    }
    Ok(clients)
}

struct Diesel<C: AsyncConnection<Backend: outbox_diesel::Database>> {
    connection: C,
    outbox: Outbox<C::Backend>,
}

impl<C: AsyncConnection<Backend: outbox_diesel::Database>> Diesel<C> {
    async fn open(mut connection: C, config: OutboxConfig) -> Result<Self> {
        let outbox = Outbox::open_with(&mut connection, config).await?;
        Ok(Self { connection, outbox })
    }
}

/// Queries are built for one database: what is generic over them would be all bounds.
macro_rules! client {
    ($connection:ty, $transaction:ident) => {
        #[async_trait]
        impl Client for Diesel<$connection> {
            async fn buy(&mut self, purchase: Purchase) -> Result<()> {
                let work = async |connection: &mut $connection| write!(connection, purchase);
                self.connection.$transaction(work).await
            }

            async fn buy_and_emit(&mut self, purchase: Purchase, events: usize) -> Result<()> {
                let work = async |mut transaction: OutboxTransaction<'_, $connection>| {
                    let written: Result<()> = write!(&mut *transaction, purchase);
                    written?;
                    for event in purchase.events(events) {
                        transaction.emit(event)?;
                    }
                    Ok(())
                };
                self.outbox.transaction(&mut self.connection, work).await
            }

            async fn enqueue(&mut self, messages: &[Message], chunk: usize) -> Result<()> {
                let outbox = &self.outbox;
                let work = async |mut transaction: OutboxTransaction<'_, $connection>| {
                    for messages in messages.chunks(chunk) {
                        outbox.enqueue_all(&mut *transaction, messages).await?;
                    }
                    Ok(())
                };
                outbox.transaction(&mut self.connection, work).await
            }
        }
    };
}

macro_rules! write {
    ($connection:expr, $purchase:expr) => {{
        let Purchase { order, account } = $purchase;
        diesel::update(bench_accounts::table.find(account))
            .set(bench_accounts::balance.eq(bench_accounts::balance - 7))
            .execute($connection)
            .await?;
        let order = (
            bench_orders::id.eq(order),
            bench_orders::account.eq(account),
            bench_orders::amount.eq(7),
        );
        diesel::insert_into(bench_orders::table).values(order).execute($connection).await?;
        Ok(())
    }};
}

client!(AsyncPgConnection, transaction);
client!(AsyncMysqlConnection, transaction);
client!(AsyncSqlite, immediate_transaction);
