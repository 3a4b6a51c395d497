//! A service that consumes orders: each is charged once, however often its message arrives.

use std::error::Error;
use std::time::Duration;

use outbox::sqlx::{Outbox, Receipt};
use sqlx::{AssertSqlSafe, Sqlite, SqlitePool};

/// A service would wait for messages as long as it runs; these programs end when none has come for
/// so long.
pub const QUIET: Duration = Duration::from_secs(5);

/// Longer than a broker keeps a message: two weeks, where Kafka keeps one for a week by default,
/// and SQS for at most these two.
const REMEMBERED: Duration = Duration::from_hours(14 * 24);

/// What it knows is in a database, in which its inbox is, too.
#[derive(Debug)]
pub struct Billing {
    pool: SqlitePool,
    outbox: Outbox<Sqlite>,
}

impl Billing {
    /// Opens the database that `DATABASE_URL` names.
    ///
    /// # Errors
    /// What the database says.
    pub async fn open() -> Result<Self, Box<dyn Error>> {
        Self::at(SqlitePool::connect(&crate::variable("DATABASE_URL")?).await?).await
    }

    async fn at(pool: SqlitePool) -> Result<Self, Box<dyn Error>> {
        Outbox::migrate(&pool).await?;
        for table in ["charges (order_no TEXT NOT NULL)", "put_aside (payload BLOB NOT NULL)"] {
            let create = format!("CREATE TABLE IF NOT EXISTS {table}");
            sqlx::query(AssertSqlSafe(create)).execute(&pool).await?;
        }
        let billing = Self { outbox: Outbox::open(&pool).await?, pool };
        // These programs end soon; a service does it once a day.
        billing.forget().await?;
        Ok(billing)
    }

    /// Lets a message take effect, unless it has already. Only then may the broker forget it.
    ///
    /// What can't be read, or has no id by which its duplicates could be told, would come again for
    /// ever, and hold back all behind it: it is put aside, for somebody to look at.
    ///
    /// # Errors
    /// What the database says. The message then comes again.
    pub async fn receive(&self, id: Option<&str>, payload: &[u8]) -> Result<(), Box<dyn Error>> {
        let (Some(id), Ok(order)) = (id, std::str::from_utf8(payload)) else {
            return self.put_aside(payload).await;
        };
        let mut tx = self.outbox.begin(&self.pool).await?;
        match self.outbox.inbox().accept(&mut tx, "billing", id).await? {
            Receipt::First => {
                let charge = sqlx::query("INSERT INTO charges (order_no) VALUES (?)").bind(order);
                charge.execute(&mut *tx).await?;
                tracing::info!("{id}: charged order {order}");
            }
            Receipt::Duplicate => tracing::info!("{id}: charged already"),
        }
        Ok(tx.commit().await?)
    }

    async fn put_aside(&self, payload: &[u8]) -> Result<(), Box<dyn Error>> {
        let insert = sqlx::query("INSERT INTO put_aside (payload) VALUES (?)").bind(payload);
        insert.execute(&self.pool).await?;
        tracing::warn!("a message that is no order was put aside");
        Ok(())
    }

    /// Forgets which messages it has had, of those that no broker brings again.
    async fn forget(&self) -> Result<(), Box<dyn Error>> {
        const STEP: u32 = 1000;
        let mut connection = self.pool.acquire().await?;
        let inbox = self.outbox.inbox();
        while inbox.purge(&mut connection, REMEMBERED, STEP).await? == u64::from(STEP) {}
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn numbers(pool: &SqlitePool, query: &'static str) -> Vec<i64> {
        sqlx::query_scalar(query).fetch_all(pool).await.unwrap()
    }

    #[tokio::test]
    async fn what_is_no_order_is_put_aside() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", directory.path().join("billing.db").display());
        let pool = SqlitePool::connect(&url).await.unwrap();
        let billing = Billing::at(pool.clone()).await.unwrap();
        billing.receive(None, b"1").await.unwrap();
        billing.receive(Some("a"), b"\xff").await.unwrap();
        billing.receive(Some("b"), b"2").await.unwrap();
        assert_eq!(numbers(&pool, "SELECT count(*) FROM put_aside").await, [2]);
        assert_eq!(numbers(&pool, "SELECT CAST(order_no AS INTEGER) FROM charges").await, [2]);
    }

    #[tokio::test]
    async fn what_no_broker_brings_again_is_forgotten() {
        let directory = tempfile::tempdir().unwrap();
        let url = format!("sqlite:{}?mode=rwc", directory.path().join("billing.db").display());
        let pool = SqlitePool::connect(&url).await.unwrap();
        let billing = Billing::at(pool.clone()).await.unwrap();
        for id in ["old", "new"] {
            billing.receive(Some(id), b"1").await.unwrap();
        }
        let age = "UPDATE outbox_inbox SET received_at = 0 WHERE message_id = 'old'";
        sqlx::query(age).execute(&pool).await.unwrap();
        Billing::at(pool.clone()).await.unwrap();
        let left = "SELECT message_id = 'new' FROM outbox_inbox";
        assert_eq!(numbers(&pool, left).await, [1]);
    }
}
