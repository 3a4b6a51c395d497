//! The service that writes, on each ORM.

use diesel_async::AsyncPgConnection;
use diesel_async::pooled_connection::AsyncDieselConnectionManager;
use diesel_async::pooled_connection::bb8;
use outbox::diesel::{DieselDriver, OutboxTransaction};
use outbox::{Admin, Message, Store, Waker, diesel, seaorm, sqlx};
use sea_orm::DatabaseConnection;

use crate::databases::Bed;

/// A service that has an outbox.
pub(crate) trait Service: Sync {
    type Store: Store + Admin + 'static;

    /// Emits in one transaction, which commits or rolls back.
    fn transact(&self, messages: Vec<Message>, commit: bool) -> impl Future<Output = ()> + Send;

    /// For a relay, on connections of its own.
    async fn store(&self) -> Self::Store;

    fn waker(&self) -> &Waker;
}

pub(crate) struct Sqlx<DB: sqlx::Database> {
    pool: ::sqlx::Pool<DB>,
    outbox: sqlx::Outbox<DB>,
}

impl<DB: sqlx::Database> Sqlx<DB> {
    pub(crate) async fn of(bed: &Bed<DB>) -> Self {
        Self::on(bed.pool.clone(), bed).await
    }

    /// On another pool.
    pub(crate) async fn on(pool: ::sqlx::Pool<DB>, bed: &Bed<DB>) -> Self {
        let outbox = sqlx::Outbox::open_with(&pool, bed.config()).await.unwrap();
        Self { pool, outbox }
    }
}

impl<DB: sqlx::Database> Service for Sqlx<DB> {
    type Store = sqlx::Store<DB>;

    async fn transact(&self, messages: Vec<Message>, commit: bool) {
        let mut tx = self.outbox.begin(&self.pool).await.unwrap();
        for message in messages {
            tx.emit(message).unwrap();
        }
        let ended = if commit { tx.commit().await } else { tx.rollback().await };
        ended.unwrap();
    }

    async fn store(&self) -> Self::Store {
        self.outbox.store().await.unwrap()
    }

    fn waker(&self) -> &Waker {
        self.outbox.waker()
    }
}

/// On diesel-async and PostgreSQL.
pub(crate) struct Diesel {
    pool: bb8::Pool<AsyncPgConnection>,
    outbox: diesel::Outbox<::diesel::pg::Pg>,
    url: String,
}

impl Diesel {
    pub(crate) async fn of(bed: &Bed<::sqlx::Postgres>) -> Self {
        let url = bed.url().to_owned();
        let pool = bb8::Pool::builder().build(AsyncDieselConnectionManager::new(&url));
        let pool = pool.await.unwrap();
        let mut connection = pool.get().await.unwrap();
        let outbox = diesel::Outbox::open_with(&mut *connection, bed.config()).await.unwrap();
        drop(connection);
        Self { pool, outbox, url }
    }
}

/// What the work of a transaction ended with.
#[derive(Debug)]
enum Failure {
    RolledBack,
    Outbox(diesel::Error),
}

impl From<diesel::Error> for Failure {
    fn from(error: diesel::Error) -> Self {
        Self::Outbox(error)
    }
}

impl Service for Diesel {
    type Store = diesel::Store<AsyncPgConnection>;

    async fn transact(&self, messages: Vec<Message>, commit: bool) {
        let mut connection = self.pool.get().await.unwrap();
        let work = async move |mut tx: OutboxTransaction<'_, AsyncPgConnection>| {
            for message in messages {
                tx.emit(message)?;
            }
            if commit { Ok(()) } else { Err(Failure::RolledBack) }
        };
        match self.outbox.transaction(&mut *connection, work).await {
            Ok(()) | Err(Failure::RolledBack) => {}
            Err(Failure::Outbox(error)) => panic!("{error}"),
        }
    }

    async fn store(&self) -> Self::Store {
        self.outbox.store(DieselDriver::from_url(&self.url).unwrap()).await.unwrap()
    }

    fn waker(&self) -> &Waker {
        self.outbox.waker()
    }
}

/// On SeaORM and PostgreSQL.
pub(crate) struct SeaOrm {
    db: DatabaseConnection,
    outbox: seaorm::Outbox,
}

impl SeaOrm {
    pub(crate) async fn of(bed: &Bed<::sqlx::Postgres>) -> Self {
        let db = sea_orm::Database::connect(bed.url()).await.unwrap();
        let outbox = seaorm::Outbox::open_with(&db, bed.config()).await.unwrap();
        Self { db, outbox }
    }
}

impl Service for SeaOrm {
    type Store = seaorm::Store;

    async fn transact(&self, messages: Vec<Message>, commit: bool) {
        let mut tx = self.outbox.begin(&self.db).await.unwrap();
        for message in messages {
            tx.emit(message).unwrap();
        }
        let ended = if commit { tx.commit().await } else { tx.rollback().await };
        ended.unwrap();
    }

    async fn store(&self) -> Self::Store {
        self.outbox.store().await.unwrap()
    }

    fn waker(&self) -> &Waker {
        self.outbox.waker()
    }
}
