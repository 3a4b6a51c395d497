//! Counts what goes to the database: a driver around a driver.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use outbox_sql::{Dialect, Driver, DriverError, Row, Session, Statement};

/// How many statements were sent, `BEGIN` and `COMMIT` among them.
#[derive(Debug, Clone, Default)]
pub(super) struct Count(Arc<AtomicU64>);

impl Count {
    pub(super) fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    fn one(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

pub(super) struct Counting<D> {
    pub(super) driver: D,
    pub(super) count: Count,
}

pub(super) struct CountingSession<S> {
    session: S,
    count: Count,
}

#[async_trait]
impl<D: Driver> Driver for Counting<D> {
    type Session = CountingSession<D::Session>;

    fn dialect(&self) -> Dialect {
        self.driver.dialect()
    }

    async fn connect(&self) -> Result<Self::Session, DriverError> {
        let session = self.driver.connect().await?;
        Ok(CountingSession { session, count: self.count.clone() })
    }
}

#[async_trait]
impl<S: Session> Session for CountingSession<S> {
    async fn run(&mut self, text: &str) -> Result<(), DriverError> {
        self.count.one();
        self.session.run(text).await
    }

    async fn execute(&mut self, statement: &Statement) -> Result<u64, DriverError> {
        self.count.one();
        self.session.execute(statement).await
    }

    async fn query(&mut self, statement: &Statement) -> Result<Vec<Row>, DriverError> {
        self.count.one();
        self.session.query(statement).await
    }
}
