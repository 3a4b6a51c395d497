//! The store over a driver's connections.

use async_trait::async_trait;
use outbox_core::{
    FetchRequest, LeaseReport, LeaseRequest, Page, RereadRequest, SettleReport, SettleRequest,
    Store, StoreError, StoredRow, Visibility,
};

use crate::fetch::{Fetch, Server};
use crate::lease::LeaseCall;
use crate::name::Tables;
use crate::open::Open;
use crate::pooler::slots;
use crate::reread::Reread;
use crate::settle::Settle;
use crate::slot::{Operation, Slot};
use crate::{Dialect, Driver, StoreConfig};

/// An outbox in a database, over the connections of a [`Driver`].
#[derive(Debug)]
pub struct SqlStore<D: Driver> {
    driver: D,
    config: StoreConfig,
    partitions: u16,
    pub(crate) context: Context,
    /// Which server answered the last fetch.
    server: Server,
    /// One connection for leases; one for reading and one for settling, if there are so many.
    slots: Vec<Slot<D::Session>>,
}

/// What an operation needs to know of its outbox.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) dialect: Dialect,
    pub(crate) tables: Tables,
    pub(crate) lock_timeout: std::time::Duration,
}

/// What a connection is used for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    Lease = 0,
    Settle = 1,
    Read = 2,
}

impl Context {
    pub(crate) fn new(dialect: Dialect, config: &StoreConfig) -> Self {
        let tables = Tables::new(dialect, &config.names);
        Self { dialect, tables, lock_timeout: config.lock_timeout }
    }
}

impl<D: Driver> SqlStore<D> {
    /// Opens the outbox, and refuses loudly what could lose or reorder messages: missing tables
    /// or another version of them, a server that is too old (see [`Dialect`]), an in-memory or
    /// read-only database, a sequence with a cache, a storage engine without transactions.
    pub async fn open(driver: D, config: StoreConfig) -> Result<Self, StoreError> {
        let context = Context::new(driver.dialect(), &config);
        let connections = config.connections.clamp(1, 3);
        if connections == 1 {
            tracing::warn!(
                outbox = %config.names,
                "one connection serves leases, reading and settling: a slow page can cost a lease"
            );
        }
        let slots = slots(&driver, &config, connections.into()).await?;
        let server = Server::default();
        let mut store = Self { driver, config, partitions: 0, context, server, slots };
        let open = Open { context: store.context.clone(), names: store.config.names.clone() };
        let info = store.run(Purpose::Lease, &open).await?;
        store.partitions = info.partitions;
        store.config.names = info.names;
        store.context = Context::new(store.context.dialect, &store.config);
        Ok(store)
    }

    /// The settings that it was opened with, and where its tables were found.
    pub fn config(&self) -> &StoreConfig {
        &self.config
    }

    /// The driver that opens its connections.
    pub fn driver(&self) -> &D {
        &self.driver
    }

    pub(crate) async fn run<O: Operation>(
        &self,
        purpose: Purpose,
        operation: &O,
    ) -> Result<O::Output, StoreError> {
        let slot = &self.slots[(purpose as usize).min(self.slots.len() - 1)];
        slot.run(&self.driver, &self.config, operation).await
    }
}

#[async_trait]
impl<D: Driver> Store for SqlStore<D> {
    fn partitions(&self) -> u16 {
        self.partitions
    }

    fn visibility(&self) -> Visibility {
        match self.context.dialect {
            Dialect::Postgres => Visibility::Snapshot,
            Dialect::MySql => Visibility::Within(self.config.longest_transaction),
            Dialect::Sqlite => Visibility::Ordered,
        }
    }

    async fn lease(&self, request: &LeaseRequest) -> Result<LeaseReport, StoreError> {
        let call = LeaseCall { context: &self.context, request };
        self.run(Purpose::Lease, &call).await
    }

    async fn fetch(&self, request: &FetchRequest) -> Result<Page, StoreError> {
        let fetch = Fetch { context: &self.context, request };
        let answer = self.run(Purpose::Read, &fetch).await?;
        self.server.recognise(answer.server)?;
        Ok(answer.page)
    }

    async fn reread(&self, request: &RereadRequest) -> Result<Vec<StoredRow>, StoreError> {
        self.run(Purpose::Read, &Reread { context: &self.context, request }).await
    }

    async fn settle(&self, request: &SettleRequest) -> Result<SettleReport, StoreError> {
        self.run(Purpose::Settle, &Settle { context: &self.context, request }).await
    }
}
