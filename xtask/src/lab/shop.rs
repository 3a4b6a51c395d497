//! A service to be measured: its purchases are two writes in one transaction, made as each ORM
//! makes them.

mod diesel;
mod sea_orm;
mod sqlx;

use anyhow::Result;
use async_trait::async_trait;
use clap::ValueEnum;
use outbox_core::Message;
use outbox_sql::{Names, OutboxConfig};

use super::target::Target;

pub(super) const ACCOUNTS: i64 = 1000;

/// The tables of the service, in every dialect.
pub(super) const SCHEMA: [&str; 4] = [
    "DROP TABLE IF EXISTS bench_orders",
    "DROP TABLE IF EXISTS bench_accounts",
    "CREATE TABLE bench_accounts (id BIGINT PRIMARY KEY, balance BIGINT NOT NULL)",
    "CREATE TABLE bench_orders (id BIGINT PRIMARY KEY, account BIGINT NOT NULL, \
     amount BIGINT NOT NULL)",
];

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Stack {
    Sqlx,
    Diesel,
    SeaOrm,
}

impl Stack {
    pub(super) const ALL: [Self; 3] = [Self::Sqlx, Self::Diesel, Self::SeaOrm];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Sqlx => "sqlx",
            Self::Diesel => "Diesel",
            Self::SeaOrm => "SeaORM",
        }
    }

    /// As many clients, each with a connection of its own.
    pub(super) async fn clients(
        self,
        target: Target,
        url: &str,
        names: &Names,
        count: u32,
    ) -> Result<Vec<Box<dyn Client>>> {
        let config = OutboxConfig::named(names.clone());
        match self {
            Self::Sqlx => sqlx::clients(target, url, config, count).await,
            Self::Diesel => diesel::clients(target, url, config, count).await,
            Self::SeaOrm => sea_orm::clients(url, config, count).await,
        }
    }
}

/// What is bought. Nobody else's order has this number, and no other client's account this one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Purchase {
    pub(super) order: i64,
    pub(super) account: i64,
}

impl Purchase {
    /// What is told about it.
    fn events(self, count: usize) -> impl Iterator<Item = outbox_core::MessageBuilder> {
        (0..count).map(move |_| {
            let body = (self.order, self.account, "twelve roses, to be delivered on Monday");
            Message::json("orders", &body).key(self.account).message_type("order.placed")
        })
    }
}

/// One who uses the service, and waits for each answer.
#[async_trait]
pub(super) trait Client: Send {
    /// Buys, as a service does that has no outbox.
    async fn buy(&mut self, purchase: Purchase) -> Result<()>;

    /// Buys in a transaction of the outbox's, which emits so many events.
    async fn buy_and_emit(&mut self, purchase: Purchase, events: usize) -> Result<()>;

    /// Enqueues in one transaction, in a call for each chunk of that length.
    async fn enqueue(&mut self, messages: &[Message], chunk: usize) -> Result<()>;
}
