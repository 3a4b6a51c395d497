//! A service that consumes orders: each is charged once, however often its message arrives.

use std::error::Error;
use std::time::Duration;

use outbox::sqlx::{Outbox, Receipt};
use sqlx::{Sqlite, SqlitePool};

/// A service would wait for messages as long as it runs; these programs end when none has come for
/// so long.
pub const QUIET: Duration = Duration::from_secs(5);

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
        let pool = SqlitePool::connect(&crate::variable("DATABASE_URL")?).await?;
        Outbox::migrate(&pool).await?;
        let create = "CREATE TABLE IF NOT EXISTS charges (order_no TEXT NOT NULL)";
        sqlx::query(create).execute(&pool).await?;
        Ok(Self { outbox: Outbox::open(&pool).await?, pool })
    }

    /// Lets a message take effect, unless it has already. Only then may the broker forget it.
    ///
    /// # Errors
    /// What the database says; or the message has no id, and isn't from an outbox.
    pub async fn receive(&self, id: Option<&str>, payload: &[u8]) -> Result<(), Box<dyn Error>> {
        let id = id.ok_or("a message without an id: nothing tells its duplicates")?;
        let mut tx = self.outbox.begin(&self.pool).await?;
        match self.outbox.inbox().accept(&mut tx, "billing", id).await? {
            Receipt::First => {
                let order = std::str::from_utf8(payload)?;
                let charge = sqlx::query("INSERT INTO charges (order_no) VALUES (?)").bind(order);
                charge.execute(&mut *tx).await?;
                tracing::info!("{id}: charged order {order}");
            }
            Receipt::Duplicate => tracing::info!("{id}: charged already"),
        }
        Ok(tx.commit().await?)
    }
}
