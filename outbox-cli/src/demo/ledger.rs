//! What was committed, as the database says, and what was published, as the file says.

use std::fs::File;
use std::io::{self, BufRead as _, BufReader};
use std::path::Path;

use serde::Deserialize;
use sqlx::SqlitePool;
use uuid::Uuid;

/// One message that was to be published or was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) id: Uuid,
    pub(super) key: String,
}

/// The ledger, in the order of the commits.
pub(super) async fn read(pool: &SqlitePool) -> Result<Vec<Entry>, sqlx::Error> {
    let rows: Vec<(String, String)> =
        sqlx::query_as("SELECT message_id, customer FROM ledger ORDER BY place")
            .fetch_all(pool)
            .await?;
    let entry = |(id, key): (String, String)| {
        let id = id.parse().map_err(|error: uuid::Error| sqlx::Error::Decode(error.into()))?;
        Ok(Entry { id, key })
    };
    rows.into_iter().map(entry).collect()
}

/// The published file, in its order.
pub(super) fn published(path: &Path) -> io::Result<Vec<Entry>> {
    #[derive(Deserialize)]
    struct Line {
        id: Uuid,
        key: String,
    }
    let lines = BufReader::new(File::open(path)?).lines();
    let entry = |line: io::Result<String>| {
        let Line { id, key } = serde_json::from_str(&line?)?;
        Ok(Entry { id, key })
    };
    lines.map(entry).collect()
}
